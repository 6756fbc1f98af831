"""torchvision's data sets, from existing or downloaded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision import datasets

from memtrack.config.errors import InputError
from memtrack.config.paths import input_path
from memtrack.config.sections.data import Torchvision
from memtrack.data.decoding import channels_first
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root, link_problem


def collect(params: Torchvision) -> Collected:
    """The data set with torchvision's own split; the id is `train/7` or `test/7`.

    The internet is used only if the files are not under root and `download` is true.
    """
    root = input_path(params.root)
    if root.exists():
        check_root(params)
    train, test = (_open(params, train=split) for split in (True, False))
    files = Path(train.raw_folder if hasattr(train, "raw_folder") else root / train.base_folder)
    steps = [step for step in (files, *files.parents) if root in step.parents]
    if links := [link_problem(step) for step in steps if step.is_symlink()]:
        raise InputError(links)
    names = tuple(str(name) for name in train.classes)
    targets = [int(target) for part in (train, test) for target in part.targets]
    images = np.concatenate([np.asarray(train.data), np.asarray(test.data)])
    counts = {"train": len(train.data), "test": len(test.data)}
    return Collected(
        ids=[f"{split}/{number}" for split, count in counts.items() for number in range(count)],
        labels=[names[target] for target in targets],
        splits=[split for split, count in counts.items() for _ in range(count)],
        classes=names,
        images=channels_first(images),
    )


def _open(params: Torchvision, *, train: bool) -> datasets.VisionDataset:
    make, root = getattr(datasets, params.name), input_path(params.root)
    try:
        try:
            data = make(root, train=train, download=False)
        except RuntimeError as error:  # torchvision: the files are missing or incomplete
            if not params.download:
                raise _unusable(params, f"{error} (data.download is false)") from None
            data = _download(params, root, train)
        if len(data.data) != len(data.targets) or max(data.targets) >= len(data.classes):
            raise ValueError("the images and the labels do not match")
    except InputError:
        raise
    except Exception as error:  # readers of damaged files and downloads raise many types
        raise _unusable(params, f"{type(error).__name__}: {error}") from None
    return data


def _download(params: Torchvision, root: Path, train: bool) -> datasets.VisionDataset:
    try:
        return getattr(datasets, params.name)(root, train=train, download=True)
    except Exception as error:
        raise _unusable(params, f"the download failed: {error}") from None


def _unusable(params: Torchvision, why: str) -> InputError:
    text = f"no usable {params.name} in torchvision's layout in {input_path(params.root)}: {why}"
    return params.mistake("root", message=text)
