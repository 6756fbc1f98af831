"""Batches of a prepared data set, normalized and on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from memtrack.config.errors import InputError, Problem
from memtrack.core.images.normalization import Normalization
from memtrack.core.images.pixels import Pixels
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData

Rows = NDArray[np.int64]
Change = Callable[[Pixels, Rows], Pixels]
Part = Callable[[list[Rows]], list[Rows]]


class _Images(Dataset[Tensor | list[Problem]]):
    """Batches of images, indexed by an array of rows, so that a worker decodes one batch at a time.

    In place of a batch that cannot be read it gives the problems: an exception would come with the traceback
    of the worker process."""

    def __init__(self, data: PreparedData, where: Sequence[str], change: Change | None) -> None:
        self.data = data
        self.where = where
        self.change = change

    def __getitem__(self, rows: Rows) -> Tensor | list[Problem]:
        try:
            images = self.data.images([self.where[row] for row in rows])
        except InputError as error:
            return list(error.problems)
        return torch.from_numpy(images if self.change is None else self.change(images, rows))


class Batches:
    """Batches (inputs, labels) of samples: in id order, or shuffled by (seed, epoch).

    `where` has the image entry of each sample for `PreparedData.images`, (N,); `labels` are int64 (N,);
    `change` turns images and their rows into what the network sees. `part` takes the part of one process from
    the rows of all batches; None: all of them.

    Inputs are float32 (B, channels, height, width), normalized by the mean and standard deviation of
    the training images; labels are int64 (B,). A last batch of one sample is added to the batch before
    it, because batch norm cannot train on it. So is one of fewer than 16 samples if the batch size is 16
    or more, because small matrix products round differently. An image that cannot be read any more is an
    `InputError`.
    """

    def __init__(
        self,
        data: PreparedData,
        where: Sequence[str],
        labels: NDArray[np.int64],
        *,
        batch_size: int,
        device: torch.device,
        workers: int = 0,
        rows: Rows | None = None,
        change: Change | None = None,
        part: Part | None = None,
    ) -> None:
        self.labels = torch.from_numpy(labels)
        self.device = device
        self._rows = self._order = np.arange(len(labels)) if rows is None else rows
        self._batch_size, self._part = batch_size, part
        self._inputs = Normalization(data.info.mean, data.info.std, device)
        workers = workers if data.info.files is not None else 0
        self._loader = DataLoader(
            _Images(data, where, change),
            batch_size=None,
            sampler=_Cuts(self),
            num_workers=workers,
        )

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
        for rows, images in zip(self.cuts(), self._loader, strict=True):
            if not isinstance(images, Tensor):
                raise InputError(images)
            yield self._inputs(images), self.labels[torch.from_numpy(rows)].to(self.device)

    def shuffled(self, *, seed: int, epoch: int) -> Batches:
        """Put the samples into an order that depends on (seed, epoch); returns itself."""
        generator = np.random.Generator(np.random.PCG64([seed, epoch]))
        self._order = self._rows[generator.permutation(len(self._rows))]
        return self


def variant_batches(
    data: PreparedData,
    variant: VariantData,
    *,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    rows: Rows | None = None,
    part: Part | None = None,
) -> Batches:
    """Batches of a variant's samples with their given labels, or only of those in `rows`; see `Batches`."""
    return Batches(
        data, variant.images, variant.given,
        batch_size=batch_size, device=device, workers=workers, rows=rows,
        change=variant.seen if variant.pixels is not None else None, part=part,
    )  # fmt: skip


class _Cuts:
    """A sampler that uses the current cuts at each pass."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Rows]:
        return iter(self._batches.cuts())

    def __len__(self) -> int:
        return len(self._batches)
