"""The canonical form of a data set, under data/prepared.

samples.csv has one row per sample: id, label (class name), split (train, test, unused, skipped) and
image (a path relative to the source's root, or a row number in images.npy). dataset.json has the rest, and
manifest.json the hashes of these files.
The order of the rows is the order of the ids everywhere in memtrack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field, Strict

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel, read_json
from memtrack.config.paths import PREPARED_FOLDER, input_path
from memtrack.core.images.pixels import Pixels
from memtrack.data import image_cache
from memtrack.data.decoding import RefusedImage, decode, why
from memtrack.data.manifest import KeptFolder

SAMPLES, INFO, IMAGES = "samples.csv", "dataset.json", "images.npy"


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


@dataclass(frozen=True)
class ImageFiles:
    """Decodes the image files of a data set.

    Attributes:
        root: the folder that the names of images are relative to.
        shape: of a decoded image. how: arguments of `decode`.
    """

    root: Path
    shape: tuple[int, int, int]
    how: dict[str, Any]

    def __call__(self, names: Sequence[str]) -> Pixels:
        """The images with these names, uint8 (B, channels, H, W).

        Raises:
            InputError: with every image file that cannot be read any more.
        """
        images = np.empty((len(names), *self.shape), dtype=np.uint8)
        problems = []
        for row, name in enumerate(names):
            try:
                images[row] = decode(self.root / name, **self.how)
            except (OSError, RefusedImage) as error:
                text = f"{why(error)}. Stage prepare could read it: put it back, or run `dvc repro prepare`"
                problems.append(Problem(self.root / name, message=text))
        if problems:
            raise InputError(problems)
        return images


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
        self._row: dict[str, int] | None = None
        self._files: ImageFiles | None = None
        files = self.info.files
        if files is not None:
            how = files.model_dump(include={"size", "mode", "background", "depth"})
            self._files = ImageFiles(input_path(files.root), self.info.shape, how)

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
        if self._files is not None:
            if self._array is None or self._row is None:
                return self._files(where)
            return self._array[[self._row[name] for name in where]]
        if self._array is None:
            with self.kept.reading(IMAGES) as path:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                if array.dtype != np.uint8 or array.shape[1:] != self.info.shape:
                    raise ValueError(f"{array.dtype} {array.shape}")
            self._array = array
        return self._array[np.asarray(where, dtype=np.int64)]

    @property
    def decoded(self) -> bool:
        """Whether `images` reads decoded images, and no files."""
        return self._files is None or self._array is not None

    def keep_decoded(self, limit: float) -> None:
        """Decode all image files once, for all processes, unless this was done before; see `image_cache`.

        Args:
            limit: the bytes that the decoded images of this project may take.

        Raises:
            InputError: if the images are not those that were prepared.
        """
        if self._files is None or self._array is not None or self.info.files is None or limit == 0:
            return
        names, expected = self.samples["image"].tolist(), self.info.files.sha256
        used = (self.samples["split"] != "skipped").tolist()
        path = image_cache.cache_file(expected, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # two processes decode once
            images = self._opened(path, expected, used)
            if images is None:
                found = image_cache.decode_all(path, names, used, self.info.shape, limit, self._files)
                if found is None:
                    return
                if found != expected:
                    path.unlink()
                    text = "its images are not those that were prepared: run `dvc repro prepare`"
                    raise InputError([Problem(self._files.root, message=text)])
                images = image_cache.opened(path)
        self._array, self._row = images, {name: row for row, name in enumerate(names)}

    def _opened(self, path: Path, expected: str, used: Sequence[bool]) -> Pixels | None:
        """The decoded images in a file; None if there is none, or if it is damaged, which is said."""
        if not path.exists():
            return None
        try:
            images = image_cache.opened(path)
            fits = images.shape == (len(used), *self.info.shape) and images.dtype == np.uint8
            if fits and image_cache.pixel_hash(images, used) == expected:
                return images
        except (OSError, ValueError, EOFError):
            pass
        print(f"{path}: is damaged: the images are decoded again")
        return None


def class_numbers(labels: Sequence[str] | pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """The class numbers of class names; raises a KeyError for a name that is not a class."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)
