"""Variants of a data set: its training samples with other given labels, in data/variants/NAME.

labels.csv has one row per sample in id order: id, image (as in data/prepared/samples.csv), clean_label,
given_label, corrupted (1 if the two differ, else 0), copy_of (the id of the sample that a conflicting
duplicate is a copy of, else empty), and weight (in the training loss) unless all weights are 1. summary.json
describes how the variant was made. Images are never copied.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.json_files import StrictModel, read_json
from memtrack.config.paths import VARIANTS_FOLDER
from memtrack.config.sections.base import Fraction
from memtrack.core.images.pixels import How, Pixels, RandomizedPixels
from memtrack.data.manifest import KeptFolder
from memtrack.data.prepared import PreparedData, class_numbers

LABELS, SUMMARY = "labels.csv", "summary.json"


class PixelChange(StrictModel):
    """How the pixels are changed when they are read; see `RandomizedPixels`."""

    how: How
    seed: int


class VariantSummary(StrictModel):
    """summary.json. transitions counts the samples of each clean class (row) by given label (column)."""

    made_from: dict[str, Any]
    realized_rate: Fraction
    samples: int
    corrupted: int
    copies: int
    pixels: PixelChange | None
    classes: list[str]
    transitions: list[list[int]]


class VariantData:
    """A variant, read from its folder.

    Attributes:
        ids: the ids of the samples, (N,). row: the row of each id. images: the image entries for
            `PreparedData.images`, (N,).
        clean, given: the class numbers, int64 (N,).
        copy_of: the id of the sample that a conflicting duplicate is a copy of, else ''; (N,).
        originals: the row of that sample, else the sample's own row; (N,).
        weights: of the samples in the training loss, (N,), from 0 to 1; None: all are 1.
        pixels: how the images are changed, or None. test_pixels: how those of the test split are changed.

    Raises:
        InputError: if a file is missing or not what stage `corrupt` wrote, or the data set was prepared anew.
    """

    weights: NDArray[np.float64] | None = None

    def __init__(self, name: str, data: PreparedData) -> None:
        self.name = name
        self.kept = KeptFolder(VARIANTS_FOLDER / name, f"run `dvc repro corrupt@{name}`")
        self.kept.require(variant=name, data=data.kept.identity)
        self.summary = read_json(VariantSummary, self.kept.file(SUMMARY))
        with self.kept.reading(LABELS) as self.table:
            table = pd.read_csv(self.table, dtype=str, keep_default_na=False)
            self.ids: list[str] = table["id"].tolist()
            self.images: list[str] = table["image"].tolist()
            self.clean = class_numbers(table["clean_label"], self.summary.classes)
            self.given = class_numbers(table["given_label"], self.summary.classes)
            self.row = {sample: number for number, sample in enumerate(self.ids)}
            self.copy_of: list[str] = table["copy_of"].tolist()
            self.originals: NDArray[np.int64] = np.array(
                [self.row[of or sample] for sample, of in zip(self.ids, self.copy_of, strict=True)],
                dtype=np.int64,
            )
            if "weight" in table:
                self.weights = table["weight"].to_numpy(dtype=np.float64)
        self.stores: dict[Any, object] = {}  # see `variant_store`
        self._data = data
        self._flips: dict[str, str] = {}
        made, info = self.summary.pixels, data.info
        self.pixels = None if made is None else RandomizedPixels(made.how, made.seed, info.mean, info.std)
        self.test_pixels = self.pixels if made is not None and made.how == "shuffled" else None

    @property
    def causes(self) -> dict[str, Any]:
        """What identifies the images and the labels."""
        pixels = None if self.pixels is None else [self.pixels.how, self.pixels.seed]
        return {
            "data": self._data.kept.files,
            "labels": self.kept.files[LABELS],
            "pixels": pixels,
            **self._flips,
        }

    def flipped(self, labels: NDArray[np.int64]) -> VariantData:
        """The same samples with other given labels, int64 (N,). What was given before counts as clean: the
        clean labels of this variant are not known to it."""
        found = copy.copy(self)
        found.stores = {}
        found.clean, found.given = self.given, labels
        found._flips = {"flips": hashlib.sha256(labels.tobytes()).hexdigest()}
        return found

    def only(
        self,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        weights: NDArray[np.float64] | None = None,
    ) -> VariantData:
        """Some of the samples, with other given labels, both int64 (M,), of a variant without copies and
        changed pixels. What was given before counts as clean, as in `flipped`.

        Args:
            weights: their weights, (M,); None: those that they have.
        """
        found = self.flipped(self.given)
        found.clean, found.given = self.given[rows], labels
        found.ids, found.images = [self.ids[row] for row in rows], [self.images[row] for row in rows]
        found.copy_of, found.originals = [""] * len(rows), np.arange(len(rows))
        found.row = {sample: number for number, sample in enumerate(found.ids)}
        if weights is None and self.weights is not None:
            weights = self.weights[rows]
        found.weights = None if weights is None or (weights == 1).all() else weights
        content = rows.tobytes() + labels.tobytes()
        if found.weights is not None:
            content += found.weights.tobytes()
        found._flips = {"chosen": hashlib.sha256(content).hexdigest()}
        return found

    def seen(self, images: Pixels, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of `images` (B, channels, H, W) of `rows`; a copy changes like its original."""
        return (
            images
            if self.pixels is None
            else self.pixels(images, self.originals[np.asarray(rows, dtype=np.int64)])
        )

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of `rows`, uint8 (len(rows), channels, H, W)."""
        return self.seen(self._data.images([self.images[row] for row in rows]), rows)

    def seen_test(self, images: Pixels, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of `images` (B, channels, H, W) of these rows of the test split."""
        return images if self.test_pixels is None else self.test_pixels(images, rows)

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which samples have a given label that differs from their clean label, (N,)."""
        return self.clean != self.given

    @property
    def flags_known(self) -> bool:
        """Whether some samples, but not all, are known to be corrupted; an AUROC needs this."""
        return 0 < int(self.corrupted.sum()) < len(self.ids)
