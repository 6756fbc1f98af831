"""The canonical form of a data set, under data/prepared.

samples.csv has one row per sample: id, label (class name), split (train, test, unused, skipped) and
image (a path relative to the source's root, or a row number in images.npy). dataset.json has the rest, and
manifest.json the hashes of these files.
The order of the rows is the order of the ids everywhere in memtrack.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, Strict

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel, read_json
from memtrack.config.paths import PREPARED_FOLDER, input_path
from memtrack.core.images.pixels import Pixels
from memtrack.data.decoding import RefusedImage, decode, why
from memtrack.data.manifest import KeptFolder

SAMPLES, INFO, IMAGES = "samples.csv", "dataset.json", "images.npy"
CHUNK = 512
"""Number of images that are decoded or summed at a time."""


class FileImages(StrictModel):
    """How the image files are read."""

    root: str
    size: int
    mode: Literal["RGB", "L"]
    background: Annotated[tuple[int, int, int], Strict(False)]
    depth: int | None = Field(description="The bits that images of more than 8 bits per channel use, if any.")
    sha256: str = Field(description="Hash of the pixels of all files, so that a change reruns the training.")


class DatasetInfo(StrictModel):
    """dataset.json. mean and std are per channel, over the training images, with pixels in [0, 1]."""

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
    """A data set in canonical form, read from its folder.

    Raises:
        InputError: if a file is missing or not what stage `prepare` wrote; images.npy is checked when it is
            used first.
    """

    def __init__(self, folder: Path = PREPARED_FOLDER) -> None:
        self.kept = KeptFolder(folder, "run `dvc repro prepare`")
        self.info = read_json(DatasetInfo, self.kept.file(INFO))
        with self.kept.reading(SAMPLES) as path:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            self.samples = table[["id", "label", "split", "image"]]
            self.codes(self.samples["label"])  # raises for a label that is no class
        self._array: Pixels | None = None
        self._root = input_path(self.info.files.root) if self.info.files is not None else None

    def split(self, name: str) -> pd.DataFrame:
        """The rows of a split, in id order."""
        return self.samples[self.samples["split"] == name]

    def codes(self, labels: Sequence[str] | pd.Series) -> NDArray[np.int64]:
        """The class numbers of class names."""
        return class_numbers(labels, self.info.classes)

    def images(self, where: Sequence[str]) -> Pixels:
        """The images with these entries in the column `image`, uint8 (B, channels, H, W).

        Raises:
            InputError: with every image file that cannot be read any more.
        """
        files = self.info.files
        if files is None or self._root is None:
            if self._array is None:
                with self.kept.reading(IMAGES) as path:
                    array = np.load(path, mmap_mode="r", allow_pickle=False)
                    if array.dtype != np.uint8 or array.shape[1:] != self.info.shape:
                        raise ValueError(f"{array.dtype} {array.shape}")
                self._array = array
            return self._array[np.asarray(where, dtype=np.int64)]
        images = np.empty((len(where), *self.info.shape), dtype=np.uint8)
        problems = []
        how = files.model_dump(include={"size", "mode", "background", "depth"})
        for row, name in enumerate(where):
            try:
                images[row] = decode(self._root / name, **how)
            except (OSError, RefusedImage) as error:
                text = f"{why(error)}. Stage prepare could read it: put it back, or run `dvc repro prepare`"
                problems.append(Problem(self._root / name, message=text))
        if problems:
            raise InputError(problems)
        return images


def class_numbers(labels: Sequence[str] | pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """The class numbers of class names; raises a KeyError for a name that is not a class."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)
