"""A folder of images with one sub-folder per class."""

from __future__ import annotations

import os
from pathlib import Path

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.data import ImageFolder
from memtrack.data.decoding import EXTENSIONS
from memtrack.data.sources.collected import Collected


def collect(params: ImageFolder) -> Collected:
    """All images below the class folders; the id is the path relative to root."""
    root = input_path(params.root)
    problems: list[Problem] = []
    if params.test is not None and (root / params.train).resolve() == (root / params.test).resolve():
        text = "is the same folder as data.train: remove this key to hold out a share of the samples"
        raise params.mistake("test", message=text)
    train = _images_by_class(root, params.train, problems, without=params.test)
    test = _images_by_class(root, params.test, problems) if params.test is not None else {}
    if train and len(train) < 2:
        problems.append(Problem(root / params.train, message="has one class folder: at least two are needed"))
    problems += [
        Problem(root / str(params.test) / name, message="this class is not in the training folder")
        for name in sorted(set(test) - set(train))
        if train
    ]
    if problems:
        raise InputError(problems)
    parts = {"train": train, "test": test}
    rows = [
        (image, name, split)
        for split, by_class in parts.items()
        for image, name in sorted((i, name) for name, images in by_class.items() for i in images)
    ]
    return Collected(
        ids=[image for image, _, _ in rows],
        labels=[name for _, name, _ in rows],
        splits=[split for _, _, split in rows] if test else None,
        classes=tuple(sorted(train)),
        images=None,
    )


def _images_by_class(
    root: Path, below: str, problems: list[Problem], without: str | None = None
) -> dict[str, list[str]]:
    folder = root / below
    if not folder.is_dir():
        problems.append(Problem(folder, message="no such folder (see data.root and data.train or data.test)"))
        return {}
    other = (root / without).resolve() if without is not None else None
    classes = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir()
        and not entry.name.startswith(".")
        and not (other is not None and other.is_relative_to(entry.resolve()))
    )
    found = {name: _images(root, folder / name) for name in classes}
    if not any(found.values()):
        problems.append(
            Problem(folder, message="no images: expected a folder per class with image files "
                    f"({', '.join(sorted(EXTENSIONS))})")
        )  # fmt: skip
        return {}
    problems += [
        Problem(folder / name, message="an empty class: it has no image files")
        for name, images in found.items()
        if not images
    ]
    return found


def _images(root: Path, folder: Path) -> list[str]:
    found: list[str] = []
    entered: set[Path] = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        here = Path(where)
        if here.resolve() in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(here.resolve())
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = [name for name in names if Path(name).suffix.lower() in EXTENSIONS]
        found += [(here / name).relative_to(root).as_posix() for name in images]
    return found
