"""The networks of a finished training, and what they say of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.labels.duplicates import thumbnails
from memtrack.data.image_cache import CHUNK
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.terminal.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 256
"""The number of samples that are measured at a time."""
Vectors = NDArray[np.float32]


class TrainedNetworks:
    """The networks of a training; see `memtrack.core.scores.registry.RecordedNetworks`.

    Args:
        folder: the checkpoints. epochs: the recorded epochs. remedy: how an `InputError` about them ends.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        folder: Path,
        epochs: tuple[int, ...],
        remedy: str,
    ) -> None:
        # these import torch, which takes seconds, and most scores do not need it
        from memtrack.runs.checkpoints import trained_checkpoints
        from memtrack.runs.networks import chosen_device

        self.labels: NDArray[np.int64] = variant.given
        self.ids, self.shape = variant.ids, data.info.shape
        self.epochs, self.variant = epochs, variant
        self._data, self._remedy = data, remedy
        self._train, self._device = params.train, chosen_device(params.train)
        data.keep_decoded(params.compute.image_cache_bytes)
        self._checkpoints = trained_checkpoints(params, variant, folder, remedy=remedy)

    def model(self, epoch: int) -> nn.Module:
        """The network after an epoch, on its device.

        Raises:
            InputError: if it is missing or damaged.
        """
        from memtrack.runs.checkpoints import trained_network

        model = trained_network(self._train, self._data.info, self._checkpoints, epoch, remedy=self._remedy)
        return model.to(self._device)

    def models(self, epochs: Sequence[int] | None = None) -> Iterator[nn.Module]:
        """The networks after these epochs, or after each recorded one."""
        for epoch in Progress(self.epochs if epochs is None else epochs, "measure the networks"):
            yield self.model(epoch)

    def learning_rate(self, epoch: int) -> float:
        """The learning rate at the start of an epoch."""
        return self._checkpoints.metrics(epoch).learning_rate

    def batches(self, rows: NDArray[np.int64] | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """The samples `rows`, or all, in batches."""
        from memtrack.data.batches import variant_batches

        return variant_batches(
            self._data,
            self.variant,
            batch_size=BATCH,
            device=self._device,
            workers=self._train.workers,
            rows=rows,
        )

    def features(self, epoch: int) -> Vectors:
        """The features of the network after an epoch, (N, features)."""
        from memtrack.core.recording.features import features

        total = -(-len(self.labels) // BATCH)
        found = features(self.model(epoch), self.batches())
        return np.concatenate(list(Progress(found, "features of the network", total=total)))

    def test_features(self, epoch: int) -> Vectors:
        """The features of the test samples in the network after an epoch, (T, features)."""
        from memtrack.core.recording.features import features
        from memtrack.data.batches import held_out_batches

        batches = held_out_batches(
            self._data,
            self.variant,
            batch_size=BATCH,
            device=self._device,
            workers=self._train.workers,
        )
        return np.concatenate(list(features(self.model(epoch), batches)))


class NearestSamples:
    """The nearest neighbours of the samples; see `memtrack.core.scores.registry.Neighbourhoods`.

    Args:
        labels: the given labels, int64 (N,).
        features: the features of the network after an epoch, (N, features).
        pixels: finds so many nearest by pixels, the same for all labels; see `nearest_by_pixels`.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        features: Callable[[int], Vectors],
        pixels: Callable[[int], NDArray[np.int64]],
    ) -> None:
        self.labels = labels
        self.pixels = cache(pixels)
        self._by_features = cache(lambda count, epoch: others(directions(features(epoch)), count))

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the nearest other samples, (N, count), or fewer columns if there are fewer samples."""
        return self.pixels(count) if epoch is None else self._by_features(count, epoch)


def nearest_by_pixels(variant: VariantData, count: int) -> NDArray[np.int64]:
    """The rows of the samples that are nearest by pixels; see `others`."""
    samples = len(variant.ids)
    starts = range(0, samples, CHUNK)
    images = (variant.read(range(start, min(start + CHUNK, samples))) for start in starts)
    return others(np.concatenate([thumbnails(part) for part in images]), count)


def directions(features: Vectors) -> Vectors:
    """Features (N, features) minus their mean, with length 1."""
    vectors = features - features.mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def others(vectors: Vectors, count: int) -> NDArray[np.int64]:
    """The rows of the nearest other vectors of each vector, nearest first, (N, count) or fewer columns."""
    own = np.arange(len(vectors))[:, None]
    _, found = nearest_neighbours(vectors, min(count + 1, len(vectors)))
    order = np.argsort(found == own, axis=1, kind="stable")  # the vector itself goes to the end
    return np.take_along_axis(found, order, axis=1)[:, :-1]


def mean_distances(vectors: Vectors, count: int) -> NDArray[np.float64]:
    """The mean distance of each vector to its nearest other vectors, (N,); 0 if there are none."""
    own = np.arange(len(vectors))[:, None]
    distances, found = nearest_neighbours(vectors, min(count + 1, len(vectors)))
    other = (found != own) & (found >= 0)
    other[other.all(axis=1), -1] = False  # one more was searched than is wanted
    total = np.where(other, distances, 0).sum(axis=1, dtype=np.float64)
    return total / np.maximum(other.sum(axis=1), 1)
