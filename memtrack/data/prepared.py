"""The canonical form of a data set, under data/prepared.

samples.csv has one row per sample: id, label (class name), split (train, test, unused, skipped) and
image (a path relative to the source's root, PATH#ROW of a table there, or a row number in images.npy).
checksums.npy has a checksum of the pixels of each encoded image, and words.json what people read of samples
that are rows of a table. dataset.json has the rest, and manifest.json the parameters and the hashes of these
files.
The order of the rows is the order of the ids everywhere in memtrack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field, Strict

from memtrack.config.errors import InputError
from memtrack.config.json_files import StrictModel, read_json
from memtrack.config.paths import PREPARED_FOLDER, input_path
from memtrack.config.sections.data import DataParams
from memtrack.core.images.pixels import Pixels, dtype_of
from memtrack.data import image_cache
from memtrack.data.cells import Cell, Encoded, ImageFault, image_problems
from memtrack.data.decoding import RefusedImage, decode, fault_of
from memtrack.data.manifest import MANIFEST, KeptFolder, check_unchanged

SAMPLES, INFO, IMAGES, CHECKSUMS = "samples.csv", "dataset.json", "images.npy", "checksums.npy"
WORDS = "words.json"
REMEDY = "run `dvc repro prepare`"
PUT_BACK = f"put it back, or {REMEDY}"
READABLE = f". Stage prepare could read it: {PUT_BACK}"


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


class Words(StrictModel):
    """words.json: what people read of each sample in place of a picture.

    columns: their names. rows: the cells of each sample, in the order of samples.csv.
    """

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class ImagePlace:
    """Finds encoded images by their entries in the column `image`.

    Attributes:
        root: the folder that the entries are relative to. column: that of the images in tables; None: each
            image is a file.
    """

    root: Path
    column: str | None = None

    def of(self, name: str) -> Encoded:
        """Where the image is."""
        if self.column is None:
            return self.root / name
        path, _, row = name.rpartition("#")
        return Cell(self.root / path, int(row), self.column)


@dataclass(frozen=True)
class ImageFiles:
    """Decodes the encoded images of a data set.

    Attributes:
        place: finds them by their names.
        shape: of a decoded image. how: arguments of `decode`.
    """

    place: ImagePlace
    shape: tuple[int, int, int]
    how: dict[str, Any]

    def __call__(self, names: Sequence[str], checksums: NDArray[np.uint64]) -> Pixels:
        """The images with these names and checksums, uint8 (B, channels, H, W).

        Raises:
            InputError: with every image file that cannot be read any more, or is another one.
        """
        images = np.empty((len(names), *self.shape), dtype=np.uint8)
        faults = []
        for row, (name, expected) in enumerate(zip(names, checksums, strict=True)):
            where = self.place.of(name)
            fault = ImageFault(where, f"is not the image that was prepared: {PUT_BACK}")
            try:
                images[row] = decode(where, **self.how)
                if checksum(images[row]) == expected:
                    continue
            except (OSError, RefusedImage) as error:
                fault = fault_of(where, error, READABLE)
            faults.append(fault)
        if faults:
            raise InputError(image_problems(faults))
        return images


class PreparedData:
    """A data set in canonical form, read from its folder.

    Raises:
        InputError: if a file is missing or not what stage `prepare` wrote; images.npy is checked when it is
            used first.
    """

    def __init__(self, folder: Path = PREPARED_FOLDER) -> None:
        self.kept = KeptFolder(folder, REMEDY)
        self.info = read_json(DatasetInfo, self.kept.file(INFO))
        with self.kept.reading(SAMPLES) as path:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            self.samples = table[["id", "label", "split", "image"]]
            self.codes(self.samples["label"])  # raises for a label that is no class
        self._array: Pixels | None = None
        self._files: ImageFiles | None = None
        files = self.info.files
        if files is not None:
            how = files.model_dump(include={"size", "mode", "background", "depth"})
            column = self.kept.made_from.get("data", {}).get("image_column")
            self._files = ImageFiles(ImagePlace(input_path(files.root), column), self.info.shape, how)

    @classmethod
    def current(cls, params: DataParams) -> PreparedData:
        """The data set, which must have been prepared with these parameters.

        Raises:
            InputError: for a key that was changed since then, and as the class.
        """
        data = cls()
        if "data" not in data.kept.made_from:
            raise data.kept.problem(MANIFEST, "was written by an earlier version of memtrack")
        check_unchanged(params, data.kept.made_from["data"], PREPARED_FOLDER, REMEDY)
        return data

    def split(self, name: str) -> pd.DataFrame:
        """The rows of a split, in id order."""
        return self.samples[self.samples["split"] == name]

    def codes(self, labels: Sequence[str] | pd.Series) -> NDArray[np.int64]:
        """The class numbers of class names."""
        return class_numbers(labels, self.info.classes)

    def images(self, where: Sequence[str]) -> Pixels:
        """The images with these entries in the column `image`, uint8 (B, channels, H, W).

        Raises:
            InputError: with every image file that cannot be read any more, or is another one.
        """
        if self._files is not None:
            rows = [self._row[name] for name in where]
            return self._files(where, self._checksums[rows]) if self._array is None else self._array[rows]
        if self._array is None:
            with self.kept.reading(IMAGES) as path:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                if array.dtype != dtype_of(self.info.shape) or array.shape[1:] != self.info.shape:
                    raise ValueError(f"{array.dtype} {array.shape}")
            self._array = array
        return self._array[np.asarray(where, dtype=np.int64)]

    @cached_property
    def words(self) -> Words | None:
        """What people read of each sample; None if they look at images, or if the vectors have no names."""
        return read_json(Words, self.kept.file(WORDS)) if WORDS in self.kept.files else None

    @cached_property
    def _row(self) -> dict[str, int]:
        """The row of each entry in the column `image`."""
        return {name: row for row, name in enumerate(self.samples["image"])}

    @cached_property
    def _checksums(self) -> NDArray[np.uint64]:
        """The checksum of the pixels of each image file, (N,)."""
        with self.kept.reading(CHECKSUMS) as path:
            found: NDArray[np.uint64] = np.load(path, allow_pickle=False)
            if found.dtype != np.uint64 or found.shape != (len(self.samples),):
                raise ValueError(f"{found.dtype} {found.shape}")
        return found

    def encoded(self, where: Sequence[str]) -> list[Encoded] | None:
        """Where the images with these entries in the column `image` are; None if they are arrays."""
        return None if self._files is None else [self._files.place.of(name) for name in where]

    def image_files(self, where: Sequence[str]) -> list[Path] | None:
        """The files of the images with these entries in the column `image`; None if they are not in files."""
        found = self.encoded(where)
        files = [path for path in found or () if isinstance(path, Path)]
        return files if found is not None and len(files) == len(found) else None

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
                shape, decode = self.info.shape, self._files
                if not image_cache.decode_all(path, names, self._checksums, used, shape, limit, decode):
                    return
                images = image_cache.opened(path)
        self._array = images

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


def checksum(pixels: Pixels) -> int:
    """A checksum of the pixels of an image, 64 bits."""
    return int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "little")


def class_numbers(labels: Sequence[str] | pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """The class numbers of class names; raises a KeyError for a name that is not a class."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[label] for label in labels], dtype=np.int64)
