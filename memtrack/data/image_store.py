"""The images of some samples as a network sees them: on the device, in memory, or decoded by workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from memtrack.config.errors import InputError, Problem
from memtrack.core.images.pixels import Pixels, dtype_of
from memtrack.core.training.devices import free_on_gpu
from memtrack.data.image_cache import CHUNK
from memtrack.data.prepared import PreparedData

Rows = NDArray[np.int64]
Change = Callable[[Pixels, Rows], Pixels]
Transform = Callable[[Pixels, Rows, int], Pixels]
SHARE = 0.25
"""The share of the free memory that the images of a store may take."""
MOST_WORKERS = 16


class ImageStore:
    """The images of some samples, uint8.

    They are kept on a GPU if they fit into a share of its free memory. Otherwise they are read batch by
    batch: from the decoded images of the data set if there are any (see `PreparedData.keep_decoded`), or from
    the files. What `change` makes of them is kept in memory if it fits there.

    Args:
        where: the image entry of each sample for `PreparedData.images`, (N,).
        device: the device of the batches.
        workers: processes that read the images; None: as many as are of use on this machine.
        change: turns images and their rows into what the network sees.
        transform: changes that at random, given the epoch. So the images are read for every pass, and each
            batch is transformed by a worker, if there are any.
    """

    def __init__(
        self,
        data: PreparedData,
        where: Sequence[str],
        device: torch.device,
        *,
        workers: int | None = None,
        change: Change | None = None,
        transform: Transform | None = None,
    ) -> None:
        self._data, self._where, self._change, self._transform = data, where, change, transform
        self.device = device
        self._asked = workers

    def batches(self, cuts: Sequence[Rows], epoch: int = 0) -> Iterator[Tensor]:
        """The images of each array of rows, uint8 (B, channels, H, W) on the device, in an epoch. There is at
        least one array. On a GPU the images are stored channels-last.

        Raises:
            InputError: for images that cannot be read any more.
        """
        kept = self._kept
        if kept is not None:
            rows = torch.from_numpy(np.concatenate(cuts))
            for part in torch.split(rows.to(kept.device), [len(cut) for cut in cuts]):
                yield kept[part].permute(0, 3, 1, 2) if on_gpu(self.device) else kept[part]
            return
        for images in self._read(cuts, epoch):
            images = images.to(self.device, non_blocking=True)
            yield images.contiguous(memory_format=torch.channels_last) if on_gpu(self.device) else images

    @cached_property
    def _kept(self) -> Tensor | None:
        """All images: (N, channels, H, W) in memory, (N, H, W, channels) on a GPU; None if they are read."""
        if self._transform is not None:
            return None
        count, (channels, height, width) = len(self._where), self._data.info.shape
        kind = torch.from_numpy(np.empty(0, dtype_of(self._data.info.shape))).dtype
        size = count * channels * height * width * kind.itemsize
        if on_gpu(self.device):
            if size > SHARE * free_on_gpu(self.device):
                return None
            kept = torch.empty((count, height, width, channels), dtype=kind, device=self.device)
            filled = kept.permute(0, 3, 1, 2)
        else:
            # what is not changed is read as fast from the file that is mapped into memory
            if self._change is None or size > SHARE * psutil.virtual_memory().available:
                return None
            kept = filled = torch.empty((count, channels, height, width), dtype=kind)
        chunks = np.split(np.arange(count), range(CHUNK, count, CHUNK))
        for rows, images in zip(chunks, self._read(chunks), strict=True):
            filled[rows[0] : rows[-1] + 1] = images.to(self.device, non_blocking=True)
        return kept

    def _read(self, cuts: Sequence[Rows], epoch: int = 0) -> Iterator[Tensor]:
        """The images of each array of rows, in the memory of this process; `InputError` as in `batches`."""
        loader: DataLoader[Tensor | list[Problem]] = DataLoader(
            _Images(self._data, self._where, self._change, self._transform, epoch),
            batch_size=None,
            sampler=cuts,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",  # so that copies do not wait
        )
        for images in loader:
            if not isinstance(images, Tensor):
                raise InputError(images)
            yield images

    @property
    def workers(self) -> int:
        """The number of processes that read the images."""
        if self._data.info.files is None and self._transform is None:
            return 0
        if self._asked is not None:
            return self._asked
        if self._data.decoded and self._transform is None:
            return 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        training = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes on this machine
        return max(1, min(cores // training - 1, MOST_WORKERS))


def on_gpu(device: torch.device) -> bool:
    """Whether images are kept on the device, channels-last, as convolutions of a GPU want them."""
    return device.type == "cuda"


class _Images(Dataset[Tensor | list[Problem]]):
    """Batches of images, indexed by an array of rows, so that a worker decodes one batch at a time.

    In place of a batch that cannot be read it gives the problems: an exception would come with the traceback
    of the worker process."""

    def __init__(
        self,
        data: PreparedData,
        where: Sequence[str],
        change: Change | None,
        transform: Transform | None,
        epoch: int,
    ) -> None:
        self.data = data
        self.where = where
        self.change = change
        self.transform, self.epoch = transform, epoch

    def __getitem__(self, rows: Rows) -> Tensor | list[Problem]:
        try:
            images = self.data.images([self.where[row] for row in rows])
        except InputError as error:
            return list(error.problems)
        if self.change is not None:
            images = self.change(images, rows)
        if self.transform is not None:
            images = self.transform(images, rows, self.epoch)
        return torch.from_numpy(images)
