"""The canonical form of a data set, under data/prepared.

samples.csv has a row per sample: id, label (class name), split (train, test, unused, skipped) and
the image: a path relative to the source's root, or a row number in images.npy. dataset.json says
the rest. The order of the rows is the order of the ids everywhere in memtrack.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, Strict

from memtrack.core.pixels import Pixels
from memtrack.io.images import decode
from memtrack.io.params import PARAMS_FILE, DataParams, Files, HeldOut, Section, mistake
from memtrack.io.paths import PREPARED_FOLDER, input_path
from memtrack.io.problems import InputError, Problem
from memtrack.io.progress import Progress
from memtrack.io.sources import Collected
from memtrack.io.validation import read_record, write_record

SAMPLES, RECORD, IMAGES = "samples.csv", "dataset.json", "images.npy"
CHUNK = 512
"""Images are decoded or summed up so many at a time."""


class FileImages(Section):
    """How the image files are read."""

    root: str
    size: int
    mode: Literal["RGB", "L"]
    sha256: str = Field(description="Of the pixels of all files: what trains on them reruns on a change.")


class DatasetRecord(Section):
    """dataset.json. mean and std are those of the training images per channel, pixels in [0, 1]."""

    source: str
    classes: Annotated[tuple[str, ...], Strict(False)]
    shape: Annotated[tuple[int, int, int], Strict(False), Field(description="channels, height, width")]
    mean: Annotated[tuple[float, ...], Strict(False)]
    std: Annotated[tuple[float, ...], Strict(False)]
    train: int
    test: int
    unused: int
    skipped: int
    files: FileImages | None


class PreparedData:
    """A data set in canonical form, read back."""

    def __init__(self, folder: Path = PREPARED_FOLDER) -> None:
        self.folder = folder
        self.record = read_record(DatasetRecord, folder / RECORD)
        self.samples = pd.read_csv(folder / SAMPLES, dtype=str, keep_default_na=False)
        self._array: Pixels | None = None
        self._root = input_path(self.record.files.root) if self.record.files is not None else None

    def split(self, name: str) -> pd.DataFrame:
        """The rows of a split, in id order."""
        return self.samples[self.samples["split"] == name]

    def codes(self, labels: Sequence[str] | pd.Series) -> NDArray[np.int64]:
        """Class names to class numbers."""
        return class_numbers(labels, self.record.classes)

    def images(self, where: Sequence[str]) -> Pixels:
        """Images (B, channels, H, W), uint8, by their entries in the column `image`."""
        files = self.record.files
        if files is None or self._root is None:
            if self._array is None:
                self._array = np.load(self.folder / IMAGES, mmap_mode="r", allow_pickle=False)
            return self._array[np.asarray(where, dtype=np.int64)]
        images = np.empty((len(where), *self.record.shape), dtype=np.uint8)
        for row, name in enumerate(where):
            images[row] = decode(self._root / name, size=files.size, mode=files.mode)
        return images


def class_numbers(labels: Sequence[str] | pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """Class names to class numbers; a KeyError for a name that is no class."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)


def write_prepared(collected: Collected, params: DataParams, folder: Path) -> DatasetRecord:
    """Bring a source into canonical form; `InputError` with all broken images unless they are skipped."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = pd.DataFrame({"id": collected.ids, "label": collected.labels})
    samples["split"] = collected.splits if collected.splits is not None else "train"
    samples["image"] = samples["id"] if collected.images is None else np.arange(len(samples)).astype(str)
    if collected.images is not None:
        np.save(folder / IMAGES, np.ascontiguousarray(collected.images), allow_pickle=False)
    sums, content = _read_all(collected, params, samples)
    if collected.splits is None:
        assert isinstance(params, HeldOut)
        _move(samples, params.test_share, "train", "test", params.seed, "data.test_share")
    training = int((samples["split"] == "train").sum())
    if params.train_limit is not None and params.train_limit < training:
        leave = training - params.train_limit
        _move(samples, leave, "train", "unused", params.seed, "data.train_limit")
    lost = sorted(set(collected.classes) - set(samples.loc[samples["split"] == "train", "label"]))
    if lost:
        raise InputError([Problem(Path(params.root), message=f"no usable training image of class {name!r}")
                          for name in lost])  # fmt: skip

    if isinstance(params, Files):
        shape = (len(params.mode), params.image_size, params.image_size)
    else:
        assert collected.images is not None
        shape = collected.images.shape[1:]
    mean, std = _statistics(sums[(samples["split"] == "train").to_numpy()], shape[1] * shape[2])
    count = samples["split"].value_counts().to_dict()
    record = DatasetRecord(
        source=params.kind,
        classes=collected.classes,
        shape=shape,
        mean=mean,
        std=std,
        train=count.get("train", 0),
        test=count.get("test", 0),
        unused=count.get("unused", 0),
        skipped=count.get("skipped", 0),
        files=FileImages(root=params.root, size=params.image_size, mode=params.mode, sha256=content)
        if isinstance(params, Files) and content is not None
        else None,
    )
    samples.to_csv(folder / SAMPLES, index=False)
    write_record(record, folder / RECORD)
    return record


def _move(samples: pd.DataFrame, amount: float | int, source: str, target: str, seed: int, key: str) -> None:
    from sklearn.model_selection import train_test_split  # takes a second; stage prepare alone needs it

    rows = samples.index[samples["split"] == source].to_numpy()
    try:
        _, moved = train_test_split(
            rows,
            test_size=amount,
            stratify=samples.loc[rows, "label"],
            random_state=np.random.RandomState(np.random.PCG64(seed)),
        )
    except ValueError as error:
        text = f"the split by classes cannot be made: {error}"
        raise mistake(*key.split("."), message=text) from None
    samples.loc[moved, "split"] = target


def _sums(images: Pixels) -> NDArray[np.int64]:
    """For each image and channel the sum of the pixels and of their squares, (B, channels, 2)."""
    pixels = images.reshape(*images.shape[:2], -1).astype(np.int64)
    return np.stack([pixels.sum(axis=2), (pixels**2).sum(axis=2)], axis=2)


def _read_files(params: Files, names: Sequence[str]) -> tuple[NDArray[np.int64], list[str], bytes]:
    """The sums of each image file, why it cannot be read ('' where it can), and a hash of all pixels."""
    root, sums, reasons, content = input_path(params.root), [], [], hashlib.sha256()
    for name in names:
        try:
            image = decode(root / name, size=params.image_size, mode=params.mode)
            sums.append(_sums(image[None])[0])
            content.update(image.tobytes())
            reasons.append("")
        except OSError as error:
            sums.append(np.zeros((len(params.mode), 2), dtype=np.int64))
            reasons.append(str(error))
    return np.stack(sums), reasons, content.digest()


def _read_all(
    collected: Collected, params: DataParams, samples: pd.DataFrame
) -> tuple[NDArray[np.int64], str | None]:
    """Read every image once; mark broken files as skipped in `samples`, or raise.

    Returns:
        the sums of `_sums` (N, channels, 2), and for files a hash of all their pixels.
    """
    if collected.images is not None:
        array = collected.images
        return np.concatenate([_sums(array[i : i + CHUNK]) for i in range(0, len(array), CHUNK)]), None
    assert isinstance(params, Files)
    names = samples["id"].tolist()
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = pool.map(partial(_read_files, params), chunks)
        parts = list(Progress(read, "reading the images", total=len(chunks)))
    reasons = [reason for part in parts for reason in part[1]]
    root = input_path(params.root)
    broken = [
        Problem(root / name, message=f"a broken image: {reason}")
        for name, reason in zip(names, reasons, strict=True)
        if reason
    ]
    if broken and params.on_error == "fail":
        where = ("data", "on_error")
        hint = f"{len(broken)} broken images; 'skip' would leave them out"
        raise InputError([Problem(PARAMS_FILE, None, where, hint), *broken])
    if broken:
        print(f"{InputError(broken)}\nskipped {len(broken)} broken images (data.on_error: skip)")
    samples.loc[[bool(reason) for reason in reasons], "split"] = "skipped"
    content = hashlib.sha256(b"".join(part[2] for part in parts)).hexdigest()
    return np.concatenate([part[0] for part in parts]), content


def _statistics(sums: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels in [0, 1], from exact whole numbers."""
    count = len(sums) * pixels
    channels = [(int(first), int(second)) for first, second in sums.sum(axis=0)]  # Python's integers
    mean = tuple(first / count / 255 for first, _ in channels)
    # a constant channel stays as it is
    std = tuple(math.sqrt(count * second - first**2) / count / 255 or 1.0 for first, second in channels)
    return mean, std
