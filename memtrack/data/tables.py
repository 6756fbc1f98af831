"""Read CSV and Parquet tables, every cell as text."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memtrack.config.errors import InputError, Problem
from memtrack.config.validation import nearest


def read_table(path: Path) -> pd.DataFrame:
    """All columns as text, empty cells as ''; the index is the line in a CSV file or the row in Parquet.

    Raises:
        InputError: if the table cannot be read, or a line has more or fewer cells than the header.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path).reset_index(drop=True).map(_text)
        if path.suffix.lower() == ".csv":
            return _read_csv(path)
    except FileNotFoundError:
        raise InputError([Problem(path, message="no such file")]) from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError([Problem(path, message=f"cannot be read as a table: {error}")]) from None
    raise InputError([Problem(path, message="expected a .csv or a .parquet file")])


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        rows: dict[int, list[str]] = {}
        last = reader.line_num
        for row in reader:
            if row:  # a blank line is not a row
                rows[last + 1] = row
            last = reader.line_num
    if not header:
        raise InputError([Problem(path, 1, message="is empty: expected a line of column names")])
    problems = [
        Problem(path, line, message=f"{len(row)} cells, but the header has {len(header)}")
        for line, row in rows.items()
        if len(row) != len(header)
    ]
    if problems:
        raise InputError(problems)
    return pd.DataFrame.from_dict(rows, orient="index", columns=header, dtype=str)


def required_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise an `InputError` that names each missing column and the existing columns."""
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
    """How to find a row of the index: its line in a CSV file, its number in a Parquet file."""
    return f"line {row}" if path.suffix.lower() == ".csv" else f"row {row}"


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell)
