"""Tables of which each row is a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Rows
from memtrack.core.images.pixels import as_pixels
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root
from memtrack.data.sources.shards import class_names, names_problem
from memtrack.data.tables import class_problems, read_table, required_columns, row_name

SPLITS = ("train", "test")


def read_rows(params: Rows, columns: list[str]) -> tuple[Path, pd.DataFrame]:
    """The table of a source, training rows first, and where it is.

    Args:
        columns: those that must be there besides the ones of label, id and split.

    Raises:
        InputError: with every row that has no label, no split, or an id that is missing or there twice.
    """
    path = check_root(params) / params.table
    table = read_table(path)
    named = [params.label_column, params.id_column, params.split_column]
    required_columns(table, [*columns, *(name for name in named if name is not None)], path)
    problems = [] if len(table) else [Problem(path, message="has no rows")]
    table[params.label_column], unknown = _named(table[params.label_column], path)
    problems += unknown
    if params.id_column is not None:
        seen: dict[str, int] = {}
        for row, sample in zip(table.index, table[params.id_column], strict=True):
            if not sample or sample in seen:
                text = (
                    f"the id {sample!r} is already in {row_name(path, seen[sample])}"
                    if sample
                    else "has no id"
                )
                problems.append(Problem(path, message=f"{row_name(path, row)}: {text}"))
            seen.setdefault(sample, row)
    if params.split_column is not None:
        problems += [
            Problem(path, message=f"{row_name(path, row)}: split {split!r}: should be 'train' or 'test'")
            for row, split in zip(table.index, table[params.split_column], strict=True)
            if split not in SPLITS
        ]
        for split in SPLITS:
            if not problems and split not in set(table[params.split_column]):
                problems.append(Problem(path, message=f"no row has the split {split!r}"))
    if problems:
        raise InputError(problems)
    if params.split_column is not None:
        table = table.sort_values(params.split_column, ascending=False, kind="stable")
    return path, table


def _named(labels: pd.Series, path: Path) -> tuple[pd.Series, list[Problem]]:
    """The labels under the names that a schema of Hugging Face has for their numbers, and what is wrong."""
    names = class_names(pq.read_schema(path), str(labels.name)) if path.suffix.lower() == ".parquet" else ()
    if not names:
        return labels, []
    if wrong := names_problem(names):
        return labels, [Problem(path, message=f"{labels.name}: {wrong}")]
    known = {str(number): name for number, name in enumerate(names)}
    problems = []
    for row, label in zip(labels.index, labels, strict=True):
        if label not in known:
            text = f"{label!r} is not the number of a class: there are {len(names)}, from 0"
            text = f"{row_name(path, row)}: {labels.name}: {text if label else 'the label is missing'}"
            problems.append(Problem(path, message=text))
    return labels.map(known), problems


def collected(
    params: Rows, path: Path, table: pd.DataFrame, vectors: NDArray[np.floating[Any]], words: list[str]
) -> Collected:
    """The samples of a table that is described by vectors (N, features).

    Args:
        words: the columns that people read.

    Raises:
        InputError: if there are fewer than two classes, or one has no training row.
    """
    labels = table[params.label_column].tolist()
    splits = None if params.split_column is None else table[params.split_column].tolist()
    classes = tuple(sorted(set(labels)))
    if problems := class_problems(path, classes, labels, splits):
        raise InputError(problems)
    ids = [str(row) for row in table.index] if params.id_column is None else table[params.id_column].tolist()
    images: Any = as_pixels(vectors)
    return Collected(ids, labels, splits, classes, images, words=table[words])
