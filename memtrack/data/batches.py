"""Batches of a prepared data set, normalized and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.core.images.normalization import Normalization
from memtrack.data.image_store import ImageStore, Rows, Transform
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData

Part = Callable[[list[Rows]], list[Rows]]


class Batches:
    """Batches (inputs, labels) of samples: in id order, or shuffled by (seed, epoch).

    `labels` are int64 (N,); `rows` are those of a subset of the samples. `part` takes the part of one process
    from the rows of all batches. `epoch` is the one that `shuffled` was called with last.

    Inputs are float32 (B, channels, height, width), normalized by the mean and standard deviation of
    the training images, and channels-last on a GPU; labels are int64 (B,). A last batch of one sample is
    added to the batch before it, because batch norm cannot train on it. So is one of fewer than 16 samples if
    the batch size is 16 or more, because small matrix products round differently. An image that cannot be
    read any more is an `InputError`.
    """

    def __init__(
        self,
        store: ImageStore,
        normalization: Normalization,
        labels: NDArray[np.int64],
        *,
        batch_size: int,
        rows: Rows | None = None,
        part: Part | None = None,
    ) -> None:
        self.labels = torch.from_numpy(labels)
        self._store = store
        self._rows = self._order = np.arange(len(labels)) if rows is None else rows
        self.epoch = 0
        self._batch_size, self._part = batch_size, part
        self._inputs = normalization

    def cuts(self) -> list[Rows]:
        """The rows of each batch, in order."""
        return self._whole_cuts() if self._part is None else self._part(self._whole_cuts())

    def counts(self) -> list[int]:
        """The number of samples in each batch, with the parts of all processes."""
        return [len(rows) for rows in self._whole_cuts()]

    def _whole_cuts(self) -> list[Rows]:
        starts = list(range(self._batch_size, len(self._order), self._batch_size))
        if starts and len(self._order) - starts[-1] < (16 if self._batch_size >= 16 else 2):
            starts.pop()
        return np.split(self._order, starts)

    def __len__(self) -> int:
        return len(self.cuts())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        cuts = self.cuts()
        if not cuts:
            return
        labels = self.labels[torch.from_numpy(np.concatenate(cuts))].to(self._store.device)
        parts = torch.split(labels, [len(cut) for cut in cuts])
        for images, given in zip(self._store.batches(cuts, self.epoch), parts, strict=True):
            yield self._inputs(images), given

    def shuffled(self, *, seed: int, epoch: int) -> Batches:
        """Put the samples into an order that depends on (seed, epoch); returns itself."""
        generator = np.random.Generator(np.random.PCG64([seed, epoch]))
        self.epoch = epoch
        self._order = self._rows[generator.permutation(len(self._rows))]
        return self


def variant_store(
    data: PreparedData,
    variant: VariantData,
    device: torch.device,
    workers: int | None = None,
    transform: Transform | None = None,
) -> ImageStore:
    """The images of a variant's samples: one store for training and recording on a device, unless training
    transforms them."""
    key = (device, workers)
    change = variant.seen if variant.pixels is not None else None
    if transform is not None:
        return ImageStore(data, variant.images, device, workers=workers, change=change, transform=transform)
    if key not in variant.stores:
        variant.stores[key] = ImageStore(data, variant.images, device, workers=workers, change=change)
    return cast(ImageStore, variant.stores[key])


def variant_batches(
    data: PreparedData,
    variant: VariantData,
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
    rows: Rows | None = None,
    transform: Transform | None = None,
    part: Part | None = None,
) -> Batches:
    """Batches of a variant's samples with their given labels, or only of those in `rows`; see `Batches`.
    `transform` changes the images at random."""
    return Batches(
        variant_store(data, variant, device, workers, transform),
        Normalization(data.info.mean, data.info.std, device),
        variant.given,
        batch_size=batch_size,
        rows=rows,
        part=part,
    )


def held_out_batches(
    data: PreparedData,
    variant: VariantData,
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
    rows: Rows | None = None,
    part: Part | None = None,
) -> Batches:
    """Batches of the test split, or of its `rows` alone, with its labels, as a network that was trained on
    the variant sees it."""
    held = data.split("test")
    store = ImageStore(data, held["image"].tolist(), device, workers=workers, change=variant.test_pixels)
    normalization = Normalization(data.info.mean, data.info.std, device)
    labels = data.codes(held["label"])
    return Batches(store, normalization, labels, batch_size=batch_size, rows=rows, part=part)
