"""A folder of images with one sub-folder per class."""

from __future__ import annotations

import os
from pathlib import Path

from memtrack.io.images import EXTENSIONS
from memtrack.io.params import ImageFolder
from memtrack.io.paths import input_path
from memtrack.io.problems import InputError, Problem
from memtrack.io.sources.collected import Collected


def collect(params: ImageFolder) -> Collected:
    """All images below the class folders; the id is the path relative to root."""
    root = input_path(params.root)
    problems: list[Problem] = []
    train = _images_by_class(root, params.train, problems, beside=params.test)
    test = _images_by_class(root, params.test, problems) if params.test is not None else {}
    if train and len(train) < 2:
        problems.append(Problem(root / params.train, message="one class folder: at least two are needed"))
    problems += [
        Problem(root / str(params.test) / name, message="a class that the training folder lacks")
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
    root: Path, below: str, problems: list[Problem], beside: str | None = None
) -> dict[str, list[str]]:
    folder = root / below
    if not folder.is_dir():
        problems.append(Problem(folder, message="no such folder (data.root and data.train or test)"))
        return {}
    other = (root / beside).resolve() if beside is not None else None
    classes = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.resolve() != other
    )
    found = {name: _images(root, folder / name) for name in classes}
    if not any(found.values()):
        problems.append(
            Problem(folder, message="no images: expected a folder per class with image files "
                    f"({', '.join(sorted(EXTENSIONS))})")
        )  # fmt: skip
        return {}
    problems += [
        Problem(folder / name, message="an empty class: no image files in it")
        for name, images in found.items()
        if not images
    ]
    return found


def _images(root: Path, folder: Path) -> list[str]:
    return [
        (Path(where) / name).relative_to(root).as_posix()
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in EXTENSIONS
    ]
