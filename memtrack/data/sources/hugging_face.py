"""Data sets of Hugging Face's `datasets`: as `save_to_disk` writes them, or by their name on the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.data import HuggingFace
from memtrack.data.cells import ARROW
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root, refuse_paths, scan
from memtrack.data.sources.shards import collect_shards

SPLITS, STATE = "dataset_dict.json", "state.json"
"""The files in which datasets lists the splits of a data set, and the tables of a split."""


def collect(params: HuggingFace) -> Collected:
    """All rows; see `collect_shards`. A data set that has a name is downloaded if it is not below root.

    Raises:
        InputError: as `collect_shards`, if root is no data set that was saved, or if the download fails.
    """
    root = input_path(params.root)
    if params.name is None or root.exists():
        root = check_root(params)
    folder = root
    if params.name is not None:
        folder = root / _folder_of(params)
        if not is_saved(folder):
            _download(params, folder)
    tables = saved_tables(folder)
    inside = folder.relative_to(root).as_posix()
    shards = {path if inside == "." else f"{inside}/{path}": split for path, split in tables.items()}
    found = scan(folder, tables=(ARROW,))
    refuse_paths(folder, tables.keys(), found)
    others = [path for path in found.tables if path not in tables]
    left_out = {"caches of datasets, which are no part of the data set": others} if others else {}
    return collect_shards(params, root, shards, left_out)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` has written a folder."""
    return (folder / SPLITS).is_file() or (folder / STATE).is_file()


def saved_tables(folder: Path) -> dict[str, str | None]:
    """The split of each table of a data set that was saved, by its path; None for a data set without splits.

    Raises:
        InputError: if it is none, or a file is missing or damaged.
    """
    if not is_saved(folder):
        text = (
            f"has no {SPLITS} and no {STATE}: expected a folder that `save_to_disk` of datasets has written"
        )
        raise InputError([Problem(folder, message=text)])
    if not (folder / SPLITS).is_file():
        return dict.fromkeys(_tables(folder))
    splits = _listed(folder / SPLITS, "splits")
    _check_names(folder / SPLITS, splits)
    return {f"{split}/{name}": split for split in splits for name in _tables(folder / split)}


def _tables(folder: Path) -> list[str]:
    listed = _listed(folder / STATE, "_data_files")
    names: list[Any] = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed]
    _check_names(folder / STATE, names)
    problems = [
        Problem(folder / name, message=f"no such file, but {STATE} names it: save the data set again")
        for name in names
        if not (folder / name).is_file()
    ]
    if problems:
        raise InputError(problems)
    return names


def _check_names(path: Path, names: Sequence[Any]) -> None:
    """`InputError` unless the names in a file of JSON are those of entries of its folder."""
    wrong = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if wrong:
        text = f"names {wrong[0]!r}, which is no name of a file or folder beside it: save the data set again"
        raise InputError([Problem(path, message=text)])


def _listed(path: Path, key: str) -> list[Any]:
    """A list in a file of JSON."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
        if isinstance(found, list):
            return found
    except FileNotFoundError:
        raise InputError([Problem(path, message="no such file: save the data set again")]) from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    text = f"has no list {key!r}: expected what `save_to_disk` of datasets writes"
    raise InputError([Problem(path, message=text)])


def _folder_of(params: HuggingFace) -> str:
    """The folder below root of a name on the hub: another configuration or revision has another one."""
    parts = [params.name, params.config, params.revision and f"@{params.revision}"]
    return "--".join(part.replace("/", "--") for part in parts if part)


def _download(params: HuggingFace, folder: Path) -> None:
    """Save a data set of the hub in `folder`, completely or not at all."""
    if not params.download:
        text = f"{params.name} is not in {folder} (data.download is false)"
        raise params.mistake("name", message=text)
    try:
        import datasets
    except ImportError:
        text = "a data set of the hub needs the package datasets: pip install 'memtrack[datasets]'"
        raise params.mistake("name", message=text) from None
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        found = datasets.load_dataset(params.name, params.config, revision=params.revision)
        found.save_to_disk(part)
    except Exception as error:  # the hub, the network and damaged files raise many types
        shutil.rmtree(part, ignore_errors=True)
        text = f"the download of {params.name} failed: {type(error).__name__}: {error}"
        raise params.mistake("name", message=text) from None
    part.replace(folder)
