"""The task of each worker: train networks by number, and find which samples they predict correctly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.core.memorization.group_size import GroupSize
from memtrack.core.memorization.stacked import Group, Recipe, StackedTraining
from memtrack.core.memorization.subsets import Flags
from memtrack.core.training.devices import compute_deterministically, free_on_gpu


@dataclass(frozen=True)
class Arrays:
    """The images uint8 (N, channels, H, W) and labels int64 (N,) of both splits."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @classmethod
    def load(cls, folder: Path) -> Arrays:
        """Map the files NAME.npy of a folder, one for each array, into memory."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="c") for name in cls.__annotations__))


class GroupTrainer:
    """The task of a worker; sent to it once.

    Args:
        arrays: the arrays, or the folder that holds them.
        members: gives the samples that the network with a number is trained on, (N,); must be picklable.
        threads: CPU threads of each worker; None: all cores.
    """

    def __init__(
        self,
        recipe: Recipe,
        arrays: Arrays | Path,
        members: Callable[[int], Flags],
        device: torch.device,
        threads: int | None = 1,
    ) -> None:
        self.recipe, self.arrays, self.members = recipe, arrays, members
        self.device, self.threads = device, threads

    def fastest_size(self, most: int, total: int) -> GroupSize:
        """See `StackedTraining.fastest_size`. On a CPU `total` does not count."""
        found = self._training.fastest_size(self.members, most, total if self.device.type == "cuda" else None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # groups of one size need blocks of one size
        return found

    def train(self, *numbers: int) -> tuple[NDArray[Any], ...]:
        """Train networks together. Returns what `_measured` does. If a GPU's memory is too small, half of the
        networks are trained at a time."""
        try:
            return self._measured(numbers)
        except torch.OutOfMemoryError:
            if len(numbers) == 1:
                raise
        middle = len(numbers) // 2
        torch.cuda.empty_cache()
        halves = self.train(*numbers[:middle]), self.train(*numbers[middle:])
        return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))

    def _measured(self, numbers: Sequence[int]) -> tuple[NDArray[Any], ...]:
        """Train a group. Returns which samples of each split each network predicts correctly, (K, N) and
        (K, T), and what `_more` adds."""
        members = np.stack([self.members(number) for number in numbers])
        group = self._training.train(numbers, members)
        train, test = (self._training.correct(group, *split) for split in self._splits)
        return train, test, *self._more(group)

    def _more(self, group: Group) -> tuple[NDArray[Any], ...]:
        """What else is measured of the networks of a group, each (K, ...)."""
        return ()

    @cached_property
    def _splits(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Images and labels of both splits; on a GPU if they take less than half of its free memory."""
        kept = Arrays.load(self.arrays) if isinstance(self.arrays, Path) else self.arrays
        train, test = (
            (_tensor(kept.images), _tensor(kept.labels)),
            (_tensor(kept.test_images), _tensor(kept.test_labels)),
        )
        size = sum(part.nbytes for part in (*train, *test))
        if self.device.type == "cuda" and size < free_on_gpu(self.device) / 2:
            train, test = _moved(train, self.device), _moved(test, self.device)
        return train, test

    @cached_property
    def _training(self) -> StackedTraining:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.device.type == "cuda":
            compute_deterministically()
        return StackedTraining(self.recipe, *self._splits[0], self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def _moved(split: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    images, labels = split
    return images.to(device), labels.to(device)


def _tensor(array: NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():  # arrays of Ray are read-only, and nothing writes to them
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
