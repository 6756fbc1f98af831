"""Tables as people keep them: CSV or Parquet, every cell read as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memtrack.io.problems import InputError, Problem
from memtrack.io.validation import nearest


def read_table(path: Path) -> pd.DataFrame:
    """All columns as text, an empty cell as ''; `InputError` where it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path).map(_text)
        if path.suffix.lower() != ".csv":
            raise InputError([Problem(path, message="expected a .csv or a .parquet file")])
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError([Problem(path, message="no such file")]) from None
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError([Problem(path, message=f"cannot be read as a table: {error}")]) from None


def required_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """`InputError` naming each column that is missing and what there is."""
    have = [str(name) for name in table.columns]
    problems = [
        Problem(
            path,
            1,
            message=f"no column {name!r}{nearest(name, have)} (there are: {', '.join(have)})",
        )
        for name in columns
        if name not in have
    ]
    if problems:
        raise InputError(problems)


def row_name(path: Path, row: int) -> str:
    """A row as a person finds it: the line of a CSV file, the number in a Parquet one."""
    return f"line {row + 2}" if path.suffix.lower() == ".csv" else f"row {row}"


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell)
