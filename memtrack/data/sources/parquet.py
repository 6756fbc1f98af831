"""Parquet files with encoded images in a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Parquet
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.image_folder import split_of
from memtrack.data.sources.scan import check_root, refuse_paths, scan
from memtrack.data.sources.shards import collect_shards

PARQUET = ".parquet"
OF_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")
"""The name of a shard as Hugging Face writes it; older ones have a hash at the end."""
LACKING = "tables that are not there, though the names of others count them"
WHOLE = {"val": "validation"}


def collect(params: Parquet) -> Collected:
    """All rows; see `collect_shards`. Without `file` these are the rows of all Parquet files below root, in
    the order of their names.

    Raises:
        InputError: as `collect_shards`, and if there is no such file.
    """
    root = check_root(params)
    found = scan(root, tables=PARQUET)
    paths = found.tables
    if params.file is not None:
        paths = [PurePosixPath(params.file).as_posix()]
        if not (root / params.file).is_file():
            raise params.mistake("file", message=f"no such file: {root / params.file}")
    if not paths:
        raise params.mistake("root", message=f"there is no .parquet file below {root}")
    refuse_paths(root, paths, found)
    left_out = dict(found.left_out)
    if params.file is not None and (others := [path for path in found.tables if path not in paths]):
        left_out["tables that data.file does not name"] = others
    if found.images:
        left_out["images that are in no table"] = found.images
    # a single file that is named needs no split
    splits = {path: None if params.file is not None else split_of_shard(path) for path in paths}
    taken = [path for path in paths if splits[path] in (params.train, params.test)]
    if lacking := _lacking(root, taken) if params.file is None else []:
        left_out[LACKING] = lacking
    return collect_shards(params, root, splits, left_out)


def _lacking(root: Path, paths: Sequence[str]) -> list[str]:
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
        f"{split}-{number:05}-of-{count:05}{PARQUET}"
        for split, (count, _) in counts.items()
        for number in range(count)
        if number not in numbers[split]
    ]


def split_of_shard(path: str) -> str | None:
    """The split that the name of a Parquet file, or of a folder above it, stands for; None for none.

    `path` is relative to the root. "data/train-00000-of-00002.parquet", "train.parquet" and
    "train/0000.parquet" are of the split "train"."""
    shard = PurePosixPath(path)
    if named := OF_SHARD.fullmatch(shard.stem):
        return named["split"]
    for name in (shard.stem, *(folder.name for folder in shard.parents)):
        if split := split_of(name):
            return WHOLE.get(split, split)
    return None
