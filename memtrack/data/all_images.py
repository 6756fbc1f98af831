"""The images of both splits: the samples of a variant, then those of the test split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memtrack.core.images.pixels import Pixels, dtype_of
from memtrack.data.cells import Encoded
from memtrack.data.image_cache import CHUNK
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.terminal.progress import Progress


class AllImages:
    """The N training samples of a variant in its order, then the T test samples.

    Attributes:
        ids, splits, labels: of each sample, (N + T,). The labels are names: given ones of training samples.
        first_test: the row of the first test sample, N.
        columns: the names of what people read of each sample in place of a picture; None if there is nothing.
    """

    def __init__(self, data: PreparedData, variant: VariantData) -> None:
        held = data.split("test")
        self._data, self._variant = data, variant
        self._held: list[str] = held["image"].tolist()
        self.first_test = len(variant.ids)
        self.ids: list[str] = [*variant.ids, *held["id"]]
        self.splits = ["train"] * self.first_test + ["test"] * len(held)
        self.columns = None if data.words is None else data.words.columns
        self.labels = [*(variant.summary.classes[number] for number in variant.given), *held["label"]]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of `rows`, uint8 (len(rows), channels, H, W)."""
        chosen = np.asarray(rows, dtype=np.int64)
        test = chosen >= self.first_test
        found = np.empty((len(chosen), *self._data.info.shape), dtype=dtype_of(self._data.info.shape))
        if not test.all():
            found[~test] = self._variant.read(chosen[~test])
        if test.any():
            places = chosen[test] - self.first_test
            images = self._data.images([self._held[place] for place in places])
            found[test] = self._variant.seen_test(images, places)
        return found

    def words(self, rows: Sequence[int] | NDArray[np.int64]) -> list[list[str]]:
        """What people read of `rows`, the cells of each; only if there are `columns`."""
        assert self._data.words is not None
        where = [*self._variant.images, *self._held]  # of vectors: rows of the data set
        return [self._data.words.rows[int(where[row])] for row in rows]

    def parts(self, what: str) -> Iterator[Pixels]:
        """All images in their order, some at a time. `what` is shown as progress."""
        for start in Progress(range(0, len(self), CHUNK), what):
            yield self.read(range(start, min(start + CHUNK, len(self))))

    def files(self) -> list[Encoded] | None:
        """The file or the cell of each image; None if the data set has no encoded images."""
        return self._data.encoded([*self._variant.images, *self._held])
