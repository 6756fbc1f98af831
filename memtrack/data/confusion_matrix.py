"""The matrix of a variant of kind confusion: from params.yaml, or from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.variants import Confusion, share_problem
from memtrack.config.validation import nearest
from memtrack.data.tables import composed, read_table, row_name


def confusion_matrix(params: Confusion, classes: Sequence[str]) -> NDArray[np.float64]:
    """The share of each class's samples that gets each label, (C, C), in class order.

    Raises:
        InputError: if the matrix or the table does not fit the classes of the data set.
    """
    if params.matrix is None:
        return _from_table(input_path(params.labels), [composed(name) for name in classes])
    if len(params.matrix) != len(classes):
        text = (
            f"has {len(params.matrix)} rows: give one for each of the {len(classes)} classes of the data set"
        )
        raise params.mistake("matrix", message=text)
    return np.array(params.matrix)


def _from_table(path: Path, classes: list[str]) -> NDArray[np.float64]:
    """Rows and columns may have any order: the first column names the class of each row, and the header the
    class of each other column."""
    table = read_table(path)
    columns = [composed(str(name)) for name in table.columns[1:]]
    rows = [composed(name) for name in table.iloc[:, 0]]
    problems = [Problem(path, 1, message=text) for text in _name_problems(columns, classes, "column")]
    problems += [Problem(path, message=text) for text in _name_problems(rows, classes, "row")]
    shares = np.zeros((len(rows), len(columns)))
    for row, (number, cells) in enumerate(
        zip(table.index, table.iloc[:, 1:].to_numpy().tolist(), strict=True)
    ):
        try:
            shares[row] = _shares(columns, cells)
        except ValueError as error:
            problems.append(Problem(path, message=f"{row_name(path, number)}: {error}"))
    if problems:
        raise InputError(problems)
    return shares[np.ix_([rows.index(name) for name in classes], [columns.index(name) for name in classes])]


def _name_problems(names: list[str], classes: list[str], what: str) -> Iterator[str]:
    counts = Counter(names)
    for name, count in counts.items():
        if name not in classes:
            known = f"the classes{nearest(name, classes)} ({', '.join(classes)})"
            yield f"the {what} {name!r} is not among {known}: rename or remove it"
        elif count > 1:
            yield f"{count} {what}s are named {name!r}: keep one"
    for name in classes:
        if name not in counts:
            yield f"has no {what} for the class {name!r}: add it"


def _shares(columns: Sequence[str], cells: Sequence[str]) -> list[float]:
    """The numbers of a row; raises a ValueError that says what is wrong with them."""
    shares = []
    for column, cell in zip(columns, cells, strict=True):
        try:
            share = float(cell)
        except ValueError:
            share = np.nan
        if not 0 <= share <= 1:
            raise ValueError(f"{column}: {cell!r} should be a number from 0 to 1")
        shares.append(share)
    if problem := share_problem(shares):
        raise ValueError(problem)
    return shares
