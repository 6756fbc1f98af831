"""The networks of a finished training, and what they say of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.images.pixels import Pixels
from memtrack.core.labels.duplicates import thumbnails
from memtrack.data.all_images import AllImages
from memtrack.data.image_cache import CHUNK
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.terminal.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from memtrack.data.batches import Batches

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

    def batches(self, rows: NDArray[np.int64] | None = None) -> Batches:
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
        return _features(self.model(epoch), self.batches(), "features of the network")

    def test_features(self, epoch: int) -> Vectors:
        """The features of the test samples in the network after an epoch, (T, features)."""
        from memtrack.core.recording.features import features

        return np.concatenate(list(features(self.model(epoch), self.test_batches())))

    def test_batches(self, rows: NDArray[np.int64] | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """The test samples `rows`, or all, in batches."""
        from memtrack.data.batches import held_out_batches

        return held_out_batches(
            self._data,
            self.variant,
            batch_size=BATCH,
            device=self._device,
            workers=self._train.workers,
            rows=rows,
        )


class NearestSamples:
    """The nearest neighbours of the samples; see `memtrack.core.scores.registry.Neighbourhoods`.

    Args:
        labels: the given labels, int64 (N,).
        features: the features of the network after an epoch, (N, features).
        pixels: finds so many nearest by pixels, the same for all labels; see `nearest_by_pixels`.
        tests: the same of the test samples, if their neighbours are wanted, too.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        features: Callable[[int], Vectors],
        pixels: Callable[[int], NDArray[np.int64]],
        tests: Callable[[int], Vectors] | None = None,
    ) -> None:
        self.labels = self.among = labels
        self.pixels = cache(pixels)

        def search(count: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            found = features(epoch)
            vectors = directions(found)
            held = np.empty((0, count), dtype=np.int64)
            if tests is not None:  # in the same pass of the network over the training samples
                queries = directions(tests(epoch), found.mean(axis=0))
                _, held = nearest_neighbours(vectors, min(count, len(vectors)), queries)
            return others(vectors, count), held

        self.searched = cache(search)

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the nearest other samples, (N, count), or fewer columns if there are fewer samples."""
        return self.pixels(count) if epoch is None else self.searched(count, epoch)[0]


class NearestInPretrained:
    """The nearest neighbours by the features of a network that others have trained; see
    `memtrack.core.scores.registry.Neighbourhoods`.

    Args:
        labels: the given labels, int64 (N,).
        search: finds so many, the same for all labels; see `nearest_by_pretrained`.
    """

    def __init__(self, labels: NDArray[np.int64], search: Callable[[int], NDArray[np.int64]]) -> None:
        self.labels = self.among = labels
        self.search = cache(search)

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the nearest other samples, (N, count), or fewer columns if there are fewer samples."""
        return self.search(count)


class NearestToTests:
    """The nearest training samples of the test samples; see `memtrack.core.scores.registry.Neighbourhoods`.

    Args:
        labels: the given labels of the test samples, int64 (T,).
        samples: those of the training samples, which know the features of the test samples.
        pixels: finds so many nearest training samples by pixels, (T, count).
    """

    def __init__(
        self, labels: NDArray[np.int64], samples: NearestSamples, pixels: Callable[[int], NDArray[np.int64]]
    ) -> None:
        self.labels, self.among = labels, samples.labels
        self._samples, self._pixels = samples, pixels

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the nearest training samples, (T, count), or fewer columns."""
        return self._pixels(count) if epoch is None else self._samples.searched(count, epoch)[1]

    def relabelled(self, labels: NDArray[np.int64]) -> NearestToTests:
        """The same test samples with other given labels, int64 (T,)."""
        return NearestToTests(labels, self._samples, self._pixels)


def _features(model: nn.Module, batches: Batches, what: str) -> Vectors:
    """The features of all samples in a network, (N, features); the progress is called `what`."""
    from memtrack.core.recording.features import features

    return np.concatenate(list(Progress(features(model, batches), what, total=len(batches))))


def nearest_by_pixels(variant: VariantData, count: int) -> NDArray[np.int64]:
    """The rows of the samples that are nearest by pixels; see `others`."""
    return others(_small(variant.read, range(len(variant.ids))), count)


def nearest_by_pretrained(
    params: Params, data: PreparedData, variant: VariantData, count: int
) -> NDArray[np.int64]:
    """The rows of the samples that are nearest in the network `suspects.pretrained`; see `others`.

    Raises:
        InputError: if the network or its weights are not there, or do not fit the images.
    """
    from memtrack.data.batches import variant_batches
    from memtrack.runs.networks import chosen_device, load_starting_weights, network

    chosen, device = params.suspects.pretrained, chosen_device(params.train)
    assert chosen is not None
    model = network(chosen, data.info)
    load_starting_weights(model, chosen)
    data.keep_decoded(params.compute.image_cache_bytes)
    batches = variant_batches(data, variant, batch_size=BATCH, device=device, workers=params.train.workers)
    found = _features(model.to(device), batches, "pretrained features")
    if not np.isfinite(found).all():
        text = "give features that are not finite: take other weights, or the mean and std that they are for"
        raise chosen.mistake("weights", message=text)
    return others(directions(found), count)


def nearest_of_both(images: AllImages, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the training samples that are nearest by pixels: to each training sample, as
    `nearest_by_pixels`, and to each test sample."""
    vectors = _small(images.read, range(images.first_test))
    queries = _small(images.read, range(images.first_test, len(images)))
    _, found = nearest_neighbours(vectors, min(count, len(vectors)), queries)
    return others(vectors, count), found


def _small(read: Callable[[Sequence[int]], Pixels], rows: range) -> Vectors:
    """Thumbnails of images."""
    starts = range(rows.start, rows.stop, CHUNK)
    images = (read(range(start, min(start + CHUNK, rows.stop))) for start in starts)
    return np.concatenate([thumbnails(part) for part in images])


def directions(features: Vectors, mean: Vectors | None = None) -> Vectors:
    """Features (N, features) minus a mean, or minus their own, with length 1."""
    vectors = features - (features.mean(axis=0) if mean is None else mean)
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
