"""Data sources: one module for each kind, with a function `collect`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import PurePosixPath

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.data import (
    Arrays,
    DataParams,
    Digits,
    Features,
    Files,
    HuggingFace,
    ImageFolder,
    Parquet,
    Rows,
    Table,
    Text,
    Torchvision,
)
from memtrack.data.sources.collected import Collected, LeftOut
from memtrack.data.sources.scan import HIDDEN, check_root, refuse_paths, scan


def collect(params: DataParams) -> Collected:
    """All samples of the source that `params` describes."""
    # the module of a kind is imported only when it is used: torchvision takes seconds
    match params:
        case Digits():
            from memtrack.data.sources import digits

            return digits.collect(params)
        case Torchvision():
            from memtrack.data.sources import torchvision

            return torchvision.collect(params)
        case ImageFolder():
            from memtrack.data.sources import image_folder

            return image_folder.collect(params)
        case Table():
            return _beside_the_table(params)
        case Parquet():
            from memtrack.data.sources import parquet

            return parquet.collect(params)
        case HuggingFace():
            from memtrack.data.sources import hugging_face

            return hugging_face.collect(params)
        case Arrays():
            from memtrack.data.sources import arrays

            return arrays.collect(params)
        case Features():
            from memtrack.data.sources import features

            return features.collect(params)
        case Text():
            from memtrack.data.sources import text

            return text.collect(params)


ARRAY_KEYS = ("images", "labels", "test_images", "test_labels")


def place_problems(params: DataParams) -> list[Problem]:
    """What is wrong with the place of the files, found without reading them.

    A root that does not exist may come from DVC."""
    if isinstance(params, HuggingFace) and params.name is not None:
        return []  # it may be downloaded
    if not isinstance(params, Files | Rows | Arrays) or not os.path.lexists(input_path(params.root)):
        return []
    try:
        root = check_root(params)
    except InputError as error:
        return list(error.problems)
    if isinstance(params, ImageFolder):
        folders = {"train": root / params.train, "test": root / (params.test or ".")}
        missing = {key: folder for key, folder in folders.items() if not folder.is_dir()}
    else:
        keys = ARRAY_KEYS if isinstance(params, Arrays) and params.file is None else ("table", "file")
        named = params.model_dump(include=set(keys))
        missing = {key: root / name for key, name in named.items() if name and not (root / name).is_file()}
    mistakes = [params.mistake(key, message=f"no such file or folder: {at}") for key, at in missing.items()]
    return [problem for mistake in mistakes for problem in mistake.problems]


def _beside_the_table(params: Table) -> Collected:
    """The samples of a table, and the images that no row names; refuses images that DVC does not see."""
    from memtrack.data.sources import table

    root = check_root(params)
    found = scan(root)
    collected = table.collect(params)
    folders = {PurePosixPath(sample).parent for sample in collected.ids}
    hidden = {PurePosixPath(path) for path in found.left_out.get(HIDDEN, ())}
    if any(hidden.intersection((folder, *folder.parents)) for folder in folders):
        found = scan(root, folders)  # rows name images in folders that are left out otherwise
    refuse_paths(root, collected.ids, found)
    unnamed = sorted(set(found.images) - set(collected.ids))
    return replace(collected, left_out={"images that no row of the table names": unnamed} if unnamed else {})


__all__ = ["Collected", "LeftOut", "collect", "place_problems"]
