"""Samples in several tables, of which the names say to which split each belongs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import NamedSplits
from memtrack.config.validation import nearest
from memtrack.data.sources.collected import LeftOut
from memtrack.data.sources.image_folder import split_of

OF_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")
"""The name of a shard as Hugging Face writes it; older ones have a hash at the end."""
LACKING = "tables that are not there, though the names of others count them"
OTHER_SPLITS = "tables of splits that data.train and data.test do not name"
WHOLE = {"val": "validation"}


def split_of_table(path: str) -> str | None:
    """The split that the name of a table, or of a folder above it, stands for; None for none.

    `path` is relative to the root. "data/train-00000-of-00002.parquet", "train.csv" and
    "train/0000.parquet" are of the split "train"."""
    table = PurePosixPath(path)
    if named := OF_SHARD.fullmatch(table.stem):
        return named["split"]
    for name in (table.stem, *(folder.name for folder in table.parents)):
        if split := split_of(name):
            return WHOLE.get(split, split)
    return None


def chosen(
    params: NamedSplits, root: Path, tables: Mapping[str, str | None], left_out: LeftOut
) -> tuple[dict[str, str], LeftOut]:
    """ "train" or "test" for each table that is taken, those for training first; and `left_out` with the
    tables of other splits.

    Args:
        tables: the split of each table, by its path below root; None: it has none.

    Raises:
        InputError: if a split is not there, or some tables have a split and others have none.
    """
    there = list(dict.fromkeys(split for split in tables.values() if split is not None))
    if not there:
        if params.test is not None:
            text = f"no table has the split {params.test!r}: remove this key to hold out a share"
            raise params.mistake("test", message=f"{text} (the names of the files have no splits)")
        return dict.fromkeys(tables, "train"), left_out
    for key, split in (("train", params.train), ("test", params.test)):
        if split is not None and split not in there:
            text = f"no table below {root} has the split {split!r}{nearest(split, there)}: there are "
            raise params.mistake(key, message=text + ", ".join(there))
    if unnamed := [Problem(root / path, message="has no split in its name, but other tables have: rename it "
                           f"({params.train}{Path(path).suffix}), or name one table in data.{params.ONLY}")
                   for path, split in tables.items() if split is None]:  # fmt: skip
        raise InputError(unnamed)
    training = {path: "train" for path, split in tables.items() if split == params.train}
    testing = {path: "test" for path, split in tables.items() if split is not None and split == params.test}
    taken = training | testing
    if others := [path for path in tables if path not in taken]:
        left_out = {**left_out, OTHER_SPLITS: others}
    return taken, left_out


def empty_splits(
    params: NamedSplits, root: Path, taken: Mapping[str, str], sides: Collection[str]
) -> list[Problem]:
    """What is wrong with tables of a split that has no rows.

    Args:
        taken: "train" or "test" for each table, by its path below root. sides: the same for each row.
    """
    remedies = {"train": "add some", "test": "add some, or remove data.test to hold out a share"}
    return [
        Problem(root / path, message=f"has no rows, so the split {split!r} is empty: {remedies[side]}")
        for path, side in taken.items()
        if side not in sides and (split := params.train if side == "train" else params.test)
    ]


def lacking(root: Path, paths: Sequence[str]) -> list[str]:
    """The shards that the names of others (train-00000-of-00002) count, and that are not there.

    Raises:
        InputError: if the shards of a split come from two sets, which would give it every sample twice.
    """
    counts: dict[str, tuple[int, str]] = {}
    numbers: dict[str, set[int]] = {}
    problems = []
    for path in paths:
        if named := OF_SHARD.fullmatch(PurePosixPath(path).stem):
            split = (PurePosixPath(path).parent / named["split"]).as_posix()
            count, first = counts.setdefault(split, (int(named["count"]), path))
            if int(named["count"]) != count:
                text = f"is one of {int(named['count'])} tables, and {first} is one of {count}: keep one set"
                problems.append(Problem(root / path, message=text))
            numbers.setdefault(split, set()).add(int(named["number"]))
    if problems:
        raise InputError(problems)
    return [
        f"{split}-{number:05}-of-{count:05}{PurePosixPath(first).suffix}"
        for split, (count, first) in counts.items()
        for number in range(count)
        if number not in numbers[split]
    ]
