"""Parquet files with encoded images in a column."""

from __future__ import annotations

from pathlib import PurePosixPath

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Parquet
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root, link_problem, refuse_paths, scan
from memtrack.data.sources.shards import collect_shards
from memtrack.data.sources.split_names import LACKING, lacking, split_of_table
from memtrack.data.tables import PARQUET


def collect(params: Parquet) -> Collected:
    """All rows; see `collect_shards`. Without `file` these are the rows of all Parquet files below root, in
    the order of their names.

    Raises:
        InputError: as `collect_shards`, and if there is no such file.
    """
    root = check_root(params)
    found = scan(root, tables=(PARQUET,))
    paths = found.tables
    if params.file is not None:
        paths = [PurePosixPath(params.file).as_posix()]
        if not (root / params.file).is_file():
            raise params.mistake("file", message=f"no such file: {root / params.file}")
    if params.file is None and found.linked:
        raise InputError([link_problem(root / link) for link in found.linked])
    if not paths:
        raise params.mistake("root", message=f"there is no .parquet file below {root}: give their folder")
    refuse_paths(root, paths, found)
    left_out = dict(found.left_out)
    if params.file is not None and (others := [path for path in found.tables if path not in paths]):
        left_out["tables that data.file does not name"] = others
    if found.images:
        left_out["images that are in no table"] = found.images
    # a single file that is named needs no split
    splits = {path: None if params.file is not None else split_of_table(path) for path in paths}
    taken = [path for path in paths if splits[path] in (params.train, params.test)]
    if params.file is None and (missing := lacking(root, taken)):
        left_out[LACKING] = missing
    return collect_shards(params, root, splits, left_out)
