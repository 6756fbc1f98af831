"""Tables with an encoded image and a label in each row, in one file or many, as Hugging Face writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Cells
from memtrack.config.validation import nearest
from memtrack.data.cells import BYTES, Shard
from memtrack.data.class_names import class_problems, label_text, names_of_labels
from memtrack.data.decoding import is_lfs_pointer
from memtrack.data.sources.arrays import in_order
from memtrack.data.sources.collected import Collected, LeftOut
from memtrack.data.sources.split_names import chosen, empty_splits
from memtrack.data.tables import NO_LABEL

METADATA = b"huggingface"
"""The entry of a schema in which Hugging Face's datasets describes the columns."""
NO_CLASS = "labels are classes, and regression is not supported"


def collect_shards(
    params: Cells, root: Path, shards: Mapping[str, str | None], left_out: LeftOut
) -> Collected:
    """All rows of the training split, then those of the test split.

    The id is the number of the row in its split, after `train/` or `test/` if there is a test split, or what
    `id_column` holds.

    Args:
        shards: the split of each file, by its path below root in the order of the rows; None: it has none.
        left_out: what else is below root.

    Raises:
        InputError: with every file that cannot be used, every row without a label or an id, and every split
            that is not there.
    """
    splits, left_out = chosen(params, root, shards, left_out)
    problems: list[Problem] = []
    ids, labels, encoded, sides = list[str](), list[str](), list[str](), list[str]()
    named: dict[tuple[str, ...], Path] = {}
    for side, paths in groupby(splits, key=splits.__getitem__):
        count = 0
        for path in paths:
            rows = _Rows(params, root / path)
            problems += rows.problems
            named.setdefault(rows.names, rows.path)
            prefix = f"{side}/" if params.test is not None else ""
            ids += rows.ids or [f"{prefix}{count + row}" for row in range(len(rows.labels))]
            labels += rows.labels
            encoded += [f"{path}#{row}" for row in range(len(rows.labels))]
            sides += [side] * len(rows.labels)
            count += len(rows.labels)
    if len(named) > 1:
        (some, first), (others_named, other), *_ = named.items()
        text = f"the column {params.label_column!r} has other names of classes than in {first}: "
        text += (
            f"{_listed(others_named)} in place of {_listed(some)}. Save all tables with one ClassLabel, or "
        )
        text += "leave one out"
        problems.append(Problem(other, message=text))
    if problems:
        raise InputError(problems)
    if not labels:
        raise InputError([Problem(root, message="the tables have no rows: give others")])
    if problems := empty_splits(params, root, splits, sides):
        raise InputError(problems)
    (names,) = named
    labels = labels if names else names_of_labels(labels)
    there = set(labels)
    classes = tuple(name for name in names if name in there) or tuple(sorted(there, key=in_order))
    with_test = sides if params.test is not None else None
    problems = class_problems(root, classes, labels, with_test) + _same_ids(params, root, ids, encoded)
    if problems:
        raise InputError(problems)
    return Collected(ids, labels, with_test, classes, None, left_out, encoded)


class _Rows:
    """The rows of a table.

    Attributes:
        names: those of the classes in the schema; () if it has none.
        labels: of each row. ids: of each row; [] without `id_column`. problems: what is wrong.
    """

    def __init__(self, params: Cells, path: Path) -> None:
        self.path, self._params = path, params
        self.names: tuple[str, ...] = ()
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.problems: list[Problem] = []
        shard = open_shard(path)
        columns = [
            params.image_column,
            params.label_column,
            *([params.id_column] if params.id_column else []),
        ]
        there = shard.schema.names
        for name in columns:
            if there.count(name) != 1:
                text = f"no column {name!r}{nearest(name, there)} (there are: {', '.join(there)})"
                text = (
                    text
                    if name not in there
                    else f"{there.count(name)} columns are named {name!r}: rename all but one"
                )
                self.problems.append(Problem(path, message=text))
        if self.problems:
            return
        self.names = class_names(shard.schema, params.label_column)
        if wrong := names_problem(self.names):
            self._wrong(params.label_column, wrong)
        if wrong := image_column_problem(shard.schema.field(params.image_column).type):
            self._wrong(params.image_column, wrong)
        try:
            self._read(shard)
        except (OSError, pa.ArrowException) as error:
            self.problems.append(_unreadable(path, error))

    def _wrong(self, column: str, text: str, row: int | None = None) -> None:
        where = f"the column {column!r}" if row is None else f"row {row}: {column}"
        self.problems.append(Problem(self.path, message=f"{where}: {text}"))

    def _read(self, shard: Shard) -> None:
        label, kind = self._params.label_column, shard.schema.field(self._params.label_column).type
        if text := label_problem(kind):
            self._wrong(label, text)
        else:
            for row, cell in enumerate(shard.column(label).to_pylist()):
                name, text = self._name(cell)
                if text:
                    self._wrong(label, text, row)
                    if NO_CLASS in text:
                        break
                self.labels.append(name)
        if self._params.id_column is not None:
            for row, cell in enumerate(shard.column(self._params.id_column).to_pylist()):
                usable = isinstance(cell, (str, int)) and not isinstance(cell, bool) and str(cell).strip()
                self.ids.append(str(cell) if usable else "")
                if not usable:
                    missing = cell is None or cell != cell or cell == "" or str(cell).isspace()
                    text = (
                        "the id is missing: give it one, or remove data.id_column to take the numbers of rows"
                    )
                    text = text if missing else "the id should be text or a whole number"
                    self._wrong(self._params.id_column, text, row)

    def _name(self, cell: Any) -> tuple[str, str]:
        """The class of a cell, and what is wrong with the cell."""
        if cell is None or cell == "" or cell != cell:
            return "", NO_LABEL
        if isinstance(cell, float) and not cell.is_integer():
            return "", f"{cell} is no whole number: {NO_CLASS}"
        if not self.names or isinstance(cell, str):
            return label_text(cell), ""
        number = int(cell)
        if 0 <= number < len(self.names):
            return self.names[number], ""
        if number == -1:
            return "", f"{NO_LABEL} (-1 stands for none)"
        return "", f"{number} is not the number of a class: there are {len(self.names)}, from 0"


def open_shard(path: Path) -> Shard:
    """A table; an `InputError` if it cannot be read."""
    try:
        if is_lfs_pointer(path):
            text = "is a pointer of git-lfs, not the table: run `git lfs pull`"
            raise InputError([Problem(path, message=text)])
        return Shard(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError([_unreadable(path, error)]) from None


def _unreadable(path: Path, error: Exception) -> Problem:
    if why := getattr(error, "strerror", None):
        return Problem(path, message=f"cannot be read: {why}")
    kind = "Arrow file of datasets" if path.suffix == ".arrow" else "Parquet file"
    return Problem(path, message=f"is damaged, or no {kind}: copy or save it again")


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of the classes that a schema of Hugging Face has for a column of numbers; () for none."""
    try:
        features = json.loads((schema.metadata or {})[METADATA])["info"]["features"]
        names = features[column]["names"] if features[column]["_type"] == "ClassLabel" else ()
        return tuple("" if name is None else str(name) for name in names)
    except (KeyError, TypeError, ValueError):
        return ()


def names_problem(names: Sequence[str]) -> str | None:
    """What is wrong with the names that a schema has for the classes; None if nothing is."""
    if "" in names:
        return "the schema has no name for a class: give it one"
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    return f"the schema has two classes with the name {twice[0]!r}: rename one" if twice else None


def image_column_problem(kind: pa.DataType) -> str | None:
    """Why a column of this type holds no encoded images; None if it may."""
    binary = pa.types.is_binary, pa.types.is_large_binary
    if pa.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0:
        kind = kind.field(BYTES).type
    if any(is_kind(kind) for is_kind in binary):
        return None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"holds lists ({kind}): expected one encoded image in each row"
    return f"holds {kind}: expected encoded images, binary or {{bytes, path}}"


def label_problem(kind: pa.DataType) -> str | None:
    """Why a column of this type holds no labels; None if it may."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        return f"holds {kind}: one label for each row is expected; several labels a sample are not supported"
    fits = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null,
            pa.types.is_string, pa.types.is_large_string)  # fmt: skip
    if any(is_kind(kind) for is_kind in fits):
        return None
    return f"holds {kind}: expected text or whole numbers"


def _same_ids(params: Cells, root: Path, ids: Sequence[str], encoded: Sequence[str]) -> list[Problem]:
    if params.id_column is None:
        return []
    first: dict[str, str] = {}
    problems = []
    for sample, where in zip(ids, encoded, strict=True):
        if first.setdefault(sample, where) != where:
            path, _, row = where.rpartition("#")
            other, _, other_row = first[sample].rpartition("#")
            text = f"the id {sample!r} is already in row {other_row} of {other}: ids must differ"
            text = f"row {row}: {params.id_column}: {text}"
            problems.append(Problem(root / path, message=text))
    return problems


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "none"
