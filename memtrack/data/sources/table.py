"""A CSV or Parquet table with one row per image."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path, project_root
from memtrack.config.sections.data import Table
from memtrack.data.class_names import class_problems, names_of_labels
from memtrack.data.sources.collected import Collected
from memtrack.data.tables import (
    NO_LABEL,
    composed,
    read_table,
    required_columns,
    row_name,
    spellings,
)


def collect(params: Table) -> Collected:
    """All rows, in the table's order within each split; the id is the path relative to root."""
    root = input_path(params.root)
    path = root / params.table
    table = read_table(path)
    columns = [params.path_column, params.label_column]
    columns += [params.split_column] if params.split_column is not None else []
    required_columns(table, columns, path)

    place = _Place(root, params.root)
    ids = [place.found(text) for text in table[params.path_column]]
    labels = _named(params, table[params.label_column].tolist())
    splits = table[params.split_column].tolist() if params.split_column is not None else None
    classes = params.classes or tuple(sorted(set(labels) - {""}))
    problems = _row_problems(path, root, table.index.tolist(), ids, labels, splits, classes)
    if not ids:
        raise InputError([*problems, Problem(path, message="has no rows: add one for each image")])
    if splits is not None and "test" not in splits:
        text = "no row has the split 'test': add some, or remove data.split_column to hold out a share"
        problems.append(Problem(path, message=text))
    if classes:
        problems += class_problems(path, classes, labels, splits)
    if problems:
        raise InputError(problems)
    frame = pd.DataFrame({"id": ids, "label": labels, "split": splits or "train"})
    frame = frame.sort_values("split", ascending=False, kind="stable")  # train before test
    return Collected(
        ids=frame["id"].tolist(),
        labels=frame["label"].tolist(),
        splits=frame["split"].tolist() if splits is not None else None,
        classes=classes,
        images=None,
    )


def _named(params: Table, labels: list[str]) -> list[str]:
    """The names of the classes; those that data.classes lists stay as they are."""
    kept = params.classes or ()
    return [
        label if label in kept else name for label, name in zip(labels, names_of_labels(labels), strict=True)
    ]


class _Place:
    """Finds the images of a table below root, as their names are on the disk."""

    def __init__(self, root: Path, given: str) -> None:
        self._root = root
        # in a copy of the project that an experiment runs in, absolute paths lead to the project itself
        self._absolute = {root.absolute(), root.resolve(), project_root() / given}
        self._names: dict[Path, dict[str, list[str]]] = {}

    def found(self, text: str) -> str:
        """The path relative to root of the image that `text` means; `text` itself if there is none."""
        for spelling in spellings(text):
            relative = PurePosixPath(spelling)
            for root in self._absolute if relative.is_absolute() else ():
                if relative.is_relative_to(root.as_posix()):
                    relative = relative.relative_to(root.as_posix())
            if relative.is_absolute() or ".." in relative.parts or not relative.parts:
                continue
            name = relative.as_posix()
            if (self._root / name).is_file():
                return name
            if other := self._in_other_form(relative):
                return other
        return PurePosixPath(text).as_posix()

    def _in_other_form(self, relative: PurePosixPath) -> str | None:
        """The path of the only file whose name differs from `relative` in its Unicode form alone."""
        here = self._root
        for part in relative.parts:
            if not (here / part).exists():
                if here not in self._names:
                    self._names[here] = {}
                    for entry in here.iterdir() if here.is_dir() else ():
                        self._names[here].setdefault(composed(entry.name), []).append(entry.name)
                same = self._names[here].get(composed(part), [])
                if len(same) != 1:
                    return None
                part = same[0]
            here /= part
        return here.relative_to(self._root).as_posix() if here.is_file() else None


def _row_problems(
    path: Path,
    root: Path,
    rows: list[int],
    ids: list[str],
    labels: list[str],
    splits: list[str] | None,
    classes: tuple[str, ...],
) -> list[Problem]:
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for row, sample, label, split in zip(rows, ids, labels, splits or ["train"] * len(ids), strict=True):
        found = []
        if sample in first:
            found.append(f"{sample} is already in {row_name(path, first[sample])}: remove one of the rows")
        first.setdefault(sample, row)
        if PurePosixPath(sample).is_absolute() or ".." in PurePosixPath(sample).parts:
            found.append(f"{sample} is outside of data.root ({root})")
        elif not (root / sample).is_file():
            found.append(f"no such image: {root / sample}" if sample != "." else "the path is empty")
        if not label:
            found.append(NO_LABEL)
        elif label not in classes:
            found.append(f"label {label!r} is not among the classes: {', '.join(classes)}")
        if split not in ("train", "test"):
            found.append(f"split {split!r}: should be 'train' or 'test'")
        problems += [Problem(path, message=f"{row_name(path, row)}: {text}") for text in found]
    return problems
