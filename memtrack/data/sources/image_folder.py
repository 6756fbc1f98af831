"""A folder of images with one sub-folder per class."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import ImageFolder
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import LINKED, Scan, check_root, ignoring_project, link_problem, scan

OUTSIDE = "images outside of the class folders"
SPLITS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev", "eval", "evaluation"},
    "test": {"test", "testing", "tst", "holdout"},
}
"""The names of folders that hold a split of the data."""


def collect(params: ImageFolder) -> Collected:
    """All images below the class folders; the id is the path relative to root."""
    root = check_root(params)
    if params.test is not None and (root / params.train).resolve() == (root / params.test).resolve():
        text = "is the same folder as data.train: remove this key to hold out a share of the samples"
        raise params.mistake("test", message=text)
    folders = {"train": PurePosixPath(params.train)}
    if params.test is not None:
        folders["test"] = PurePosixPath(params.test)
    found = scan(root, folders.values())
    _refuse_links(root, found, list(folders.values()))
    problems = [
        Problem(
            root / folder,
            message="no such folder: name the folder of the class folders in data.train and data.test",
        )
        for folder in folders.values()
        if folder.parts and folder not in found.folders
    ]
    if problems:
        raise InputError(problems)

    below: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in sorted(found.folders):
        below[path.parent].append(path)
    sides: dict[str, dict[str, list[str]]] = {}
    taken: set[str] = set()
    for side, folder in folders.items():
        others = [other for other in folders.values() if other != folder]
        classes = [path for path in below[folder] if not any(other.is_relative_to(path) for other in others)]
        if not params.allow_split_names:
            _refuse_splits(params, {path: {inner.name for inner in below[path]} for path in classes})
        images: dict[PurePosixPath, list[str]] = {path: [] for path in classes}
        for image in found.images:
            for parent in PurePosixPath(image).parents:
                if parent in images:
                    images[parent].append(image)
                    taken.add(image)
        sides[side] = {path.name: inside for path, inside in images.items()}
        if not any(images.values()):
            text = "no images: expected a folder per class with image files (.jpg, .png and others)"
            here = sum(PurePosixPath(image).parent == folder for image in found.images)
            if here:
                text += f"; {here} images are here, in no such folder: move them, or name them in a table of "
                text += "paths and labels (kind: table)"
            problems.append(Problem(root / folder, message=text + _left_out_below(found, folder)))
            sides[side] = {}
            continue
        for path, inside in images.items():
            if not inside:
                text = (
                    f"an empty class: no image files{_left_out_below(found, path)}; if it is no class, "
                    f"{_how_to_leave_out(root, path)}"
                )
                problems.append(Problem(root / path, message=text))
    train, test = sides["train"], sides.get("test", {})
    if len(train) == 1:
        text = "has one class folder: at least two are needed"
        if split_of(*train):
            text += f" (for the classes below it, write `train: {folders['train'] / next(iter(train))}`)"
        problems.append(Problem(root / folders["train"], message=text))
    problems += [
        Problem(
            root / folders["test"] / name,
            message="this class has no folder for training: add one, or move it away",
        )
        for name in sorted(set(test) - set(train))
        if train
    ]
    if problems:
        raise InputError(problems)
    if outside := [image for image in found.images if image not in taken]:
        found.left_out[OUTSIDE] = outside
    rows = [
        (image, name, side)
        for side, by_class in sides.items()
        for image, name in sorted((image, name) for name, images in by_class.items() for image in images)
    ]
    return Collected(
        ids=[image for image, _, _ in rows],
        labels=[name for _, name, _ in rows],
        splits=[side for _, _, side in rows] if test else None,
        classes=tuple(sorted(train)),
        images=None,
        left_out=dict(found.left_out),
    )


def _refuse_links(root: Path, found: Scan, folders: Sequence[PurePosixPath]) -> None:
    """Refuse links to folders where images are expected, and leave out the others."""
    inside = [
        link
        for link in found.linked
        if any(PurePosixPath(link).is_relative_to(f) or f.is_relative_to(link) for f in folders)
    ]
    if inside:
        raise InputError([link_problem(root / link) for link in inside])
    if found.linked:
        found.left_out[LINKED] = found.linked


def split_of(name: str) -> str | None:
    """The split that a folder's name stands for, such as "train" for train2017 or seg_train."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return next((split for split, names in SPLITS.items() if words & names), None)


def _refuse_splits(params: ImageFolder, below: Mapping[PurePosixPath, set[str]]) -> None:
    """Raise an `InputError` if the class folders are splits (train/cat, test/cat), or hold them (cat/train).

    Args:
        below: the names of the folders in each class folder.
    """
    named = {path: split for path in below if (split := split_of(path.name)) is not None}
    by_split = {split: path for path, split in named.items()}
    if len(by_split) > 1 and (
        all(path.name.lower() in SPLITS[split] for path, split in named.items())
        or set.intersection(*(below[path] for path in named))
    ):
        first = by_split.get("train", next(iter(named)))
        test = next((by_split[key] for key in ("test", "val") if by_split.get(key, first) != first), None)
        keys = f"`train: {first}`" + (f" and `test: {test}`" if test is not None else "")
        text = (
            f"the folders {', '.join(path.name for path in named)} look like splits of the data, not like "
            f"classes: write {keys}; if they are classes, add `allow_split_names: true`"
        )
        raise params.mistake("train", message=text)
    inner = {name: split_of(name) for names in below.values() for name in names}
    if all(below.values()) and None not in inner.values() and len(set(inner.values())) > 1:
        text = (
            f"the class folders hold the splits {', '.join(sorted(inner))}: put these above the classes "
            f"(train/{next(iter(below)).name}) and name them in `train` and `test`; to take all images "
            "together, add `allow_split_names: true`"
        )
        raise params.mistake("train", message=text)


def _how_to_leave_out(root: Path, folder: PurePosixPath) -> str:
    """What to do about a folder that is taken as a class."""
    away = f"move it out of {root / folder.parent}"
    project = ignoring_project(root)
    if project is None:
        return away
    named = os.path.relpath(root / folder, project)
    return f"{away}, or write /{named} into {project / '.dvcignore'}"


def _left_out_below(found: Scan, folder: PurePosixPath) -> str:
    """How many files below a folder are left out, and why."""
    counts = {
        reason: sum(PurePosixPath(path).is_relative_to(folder) for path in paths)
        for reason, paths in found.left_out.items()
    }
    said = "; ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return f" (left out: {said})" if said else ""
