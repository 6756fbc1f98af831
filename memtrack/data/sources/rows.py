"""Tables of which each row is a sample, one or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Rows
from memtrack.core.images.pixels import as_pixels
from memtrack.data.class_names import class_problems, names_of_labels, without_point
from memtrack.data.sources.collected import Collected, LeftOut
from memtrack.data.sources.scan import check_root, link_problem, refuse_paths, scan
from memtrack.data.sources.shards import class_names, names_problem
from memtrack.data.sources.split_names import LACKING, chosen, empty_splits, lacking, split_of_table
from memtrack.data.tables import (
    CSV,
    NO_LABEL,
    PARQUET,
    read_table,
    required_columns,
    row_name,
)

SPLITS = ("train", "test")
NO_ID = "has no id: give it one, or remove data.id_column to take the numbers of the rows"
_HELP = {"train": "add some", "test": "add some, or remove data.split_column to hold out a share"}


@dataclass
class Samples:
    """The rows of a source, training rows first.

    Attributes:
        params: the source. path: its table, or the folder of its tables. cells: all columns as text
            (N, columns). places: the table of each row, and its row there as `read_table` counts them (N,).
            splits: "train" or "test" (N,); None without a test split. left_out: tables that are not taken.
    """

    params: Rows
    path: Path
    cells: pd.DataFrame
    places: list[tuple[Path, int]]
    splits: list[str] | None
    left_out: LeftOut

    def name(self, row: int) -> str:
        """Where a row is: its line or number, with several tables after the path of its table."""
        path, number = self.places[row]
        return str(number) if path == self.path else f"{path.relative_to(self.path).as_posix()}:{number}"

    def problem(self, row: int, text: str) -> Problem:
        """What is wrong with a row."""
        path, number = self.places[row]
        return Problem(path, message=f"{row_name(path, number)}: {text}")


def read_rows(params: Rows, columns: Sequence[str] | None) -> Samples:
    """All rows of `params.table`, or of all tables below root in the order of their names.

    Args:
        columns: those that must be there besides the ones of label, id and split; None: all that are there.

    Raises:
        InputError: with every row that has no label, no split, or an id that is missing or there twice, and
            every table that has other columns than the first.
    """
    root = check_root(params)
    taken, left_out = _tables(params, root)
    named = [params.label_column, params.id_column, params.split_column]
    parts: dict[Path, pd.DataFrame] = {}
    problems: list[Problem] = []
    for path in (root / inside for inside in taken):
        part = read_table(path)
        wanted = part.columns if columns is None else columns
        required_columns(part, [*wanted, *(name for name in named if name is not None)], path)
        first, begun = next(iter(parts.items()), (path, part))
        if set(part) != set(begun):
            text = (
                f"has the columns {', '.join(map(str, part))}, and {first} has {', '.join(map(str, begun))}"
            )
            problems.append(Problem(path, message=f"{text}: give all tables the same"))
        part[params.label_column], unknown = _named(part[params.label_column], path)
        problems += unknown
        parts[path] = part.loc[:, ~part.columns.duplicated()]  # nobody reads those that are there twice
    cells = pd.concat(parts.values(), ignore_index=True)
    cells[params.label_column] = names_of_labels(cells[params.label_column])  # of all tables together
    places = [(path, row) for path, part in parts.items() for row in part.index]
    path = root if params.table is None else root / params.table
    found = Samples(params, path, cells, places, None, left_out)
    if params.split_column is not None:
        found.splits = cells[params.split_column].tolist()
    elif params.test is not None:
        found.splits = [
            side for side, part in zip(taken.values(), parts.values(), strict=True) for _ in range(len(part))
        ]
        problems += empty_splits(params, root, taken, found.splits)
    problems += (
        [] if len(cells) or problems else [Problem(path, message="has no rows: add one for each sample")]
    )
    problems += [*_wrong_ids(found), *_wrong_splits(found)] if not problems else []
    if problems:
        raise InputError(problems)
    if found.splits is not None:
        order = sorted(range(len(cells)), key=[split == "test" for split in found.splits].__getitem__)
        found.cells = cells.iloc[order].reset_index(drop=True)
        found.places = [places[row] for row in order]
        found.splits = [found.splits[row] for row in order]
    return found


def _tables(params: Rows, root: Path) -> tuple[dict[str, str], LeftOut]:
    """ "train" or "test" for the table that is named, or for each one below root; and what is not taken."""
    if params.table is not None:
        return {params.table: "train"}, {}
    found = scan(root, tables=(*CSV, PARQUET))
    if found.linked:
        raise InputError([link_problem(root / link) for link in found.linked])
    if not found.tables:
        raise params.mistake(
            "root", message=f"there is no .csv, .tsv or .parquet file below {root}: give their folder"
        )
    refuse_paths(root, found.tables, found)
    if params.split_column is not None:
        return dict.fromkeys(found.tables, "train"), {}
    taken, left_out = chosen(params, root, {path: split_of_table(path) for path in found.tables}, {})
    missing = lacking(root, list(taken))
    return taken, {**left_out, LACKING: missing} if missing else left_out


def _wrong_ids(found: Samples) -> list[Problem]:
    if found.params.id_column is None:
        return []
    seen: dict[str, int] = {}
    problems = []
    for row, sample in enumerate(found.cells[found.params.id_column]):
        if not sample:
            problems.append(found.problem(row, NO_ID))
        elif sample in seen:
            path, number = found.places[seen[sample]]
            where = row_name(path, number) + ("" if path == found.places[row][0] else f" of {path}")
            problems.append(found.problem(row, f"the id {sample!r} is already in {where}: ids must differ"))
        seen.setdefault(sample, row)
    return problems


def _wrong_splits(found: Samples) -> list[Problem]:
    if found.splits is None:
        return []
    problems = [
        found.problem(row, f"split {split!r}: should be 'train' or 'test'")
        for row, split in enumerate(found.splits)
        if split not in SPLITS
    ]
    lacks = [split for split in SPLITS if split not in found.splits]
    text = "no row has the split {!r}: {}"
    return problems or [Problem(found.path, message=text.format(split, _HELP[split])) for split in lacks]


def _named(labels: pd.Series, path: Path) -> tuple[pd.Series, list[Problem]]:
    """The labels under the names that a schema of Hugging Face has for their numbers, and what is wrong."""
    names = class_names(pq.read_schema(path), str(labels.name)) if path.suffix.lower() == PARQUET else ()
    if not names:
        return labels, []
    if wrong := names_problem(names):
        return labels, [Problem(path, message=f"{labels.name}: {wrong}")]
    known = {str(number): name for number, name in enumerate(names)}
    labels = labels.map(without_point)
    problems = []
    for row, label in zip(labels.index, labels, strict=True):
        if label not in known:
            text = f"{label!r} is not the number of a class: there are {len(names)}, from 0"
            text = f"{row_name(path, row)}: {labels.name}: {text if label else NO_LABEL}"
            problems.append(Problem(path, message=text))
    return labels.map(known), problems


def collected(found: Samples, vectors: NDArray[np.floating[Any]], words: list[str]) -> Collected:
    """The samples, which are described by vectors (N, features).

    Args:
        words: the columns that people read.

    Raises:
        InputError: if there are fewer than two classes, or one has no training row.
    """
    labels = found.cells[found.params.label_column].tolist()
    classes = tuple(sorted(set(labels)))
    if problems := class_problems(found.path, classes, labels, found.splits):
        raise InputError(problems)
    column = found.params.id_column
    ids = list(map(found.name, range(len(labels)))) if column is None else found.cells[column].tolist()
    images: Any = as_pixels(vectors)
    return Collected(ids, labels, found.splits, classes, images, found.left_out, words=found.cells[words])
