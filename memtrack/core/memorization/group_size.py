"""How many networks are trained together: the number that trains fastest, as far as memory reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import torch

from memtrack.core.training.devices import free_on_gpu

GAIN = 0.95
"""A larger group counts as faster if it takes less than this share of the time per network."""
SHORT = 60.0
"""Groups whose training takes at most this many seconds may be as large as they like: a kill loses little."""
USABLE = 0.8
"""The share of the free memory that a group may use. What the allocator cannot use is in the rest."""
T = TypeVar("T")


class Memory(Protocol):
    """The memory of a device."""

    def free(self) -> int:
        """The bytes that are free now."""
        ...

    def peak(self, job: Callable[[], T]) -> tuple[T, int]:
        """Do a job; its result, and the most bytes that it used at a time."""
        ...


class CudaMemory:
    """The memory of a GPU; see `Memory`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        return free_on_gpu(self._device)

    def peak(self, job: Callable[[], T]) -> tuple[T, int]:
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        result = job()
        return result, torch.cuda.max_memory_allocated(self._device) - before


class GroupSize(NamedTuple):
    """A number of networks, and why they are trained alone; '' if nothing forces it."""

    networks: int
    why_alone: str = ""


def fastest_size(
    seconds: Callable[[int], float], most: int, *, total: int | None = None, memory: Memory | None = None
) -> GroupSize:
    """How many networks are trained fastest together. It tries 1, 2, 4, ... networks until two sizes in a row
    gain nothing, or the next size would not fit into memory: a group of twice the size is taken to need twice
    the memory that the last one was measured to use.

    Args:
        seconds: the seconds that the training of a group of some size takes. It may raise any exception if
            networks cannot be trained together.
        most: the largest size.
        total: the largest size of groups that are trained within `SHORT` seconds. It is tried as well, though
            it may be no power of two. None: `most`.
        memory: the memory that a group must fit into; None: it is not looked at.
    """
    free = USABLE * memory.free() if memory is not None else float("inf")
    best, least, last, used = 1, float("inf"), 1, 0
    for size in _sizes(most, total):
        if size > 4 * best or used * size / last > free:
            break
        try:
            taken, used = memory.peak(lambda: seconds(size)) if memory is not None else (seconds(size), 0)  # noqa: B023
        except Exception as error:
            if size == 1:
                raise
            full = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
            return GroupSize(1, str(error)) if size == 2 and not full else GroupSize(best)
        if size > most and taken > SHORT:
            break
        if taken / size < GAIN * least:
            best, least = size, taken / size
        last = size
    return GroupSize(best)


def _sizes(most: int, total: int | None) -> Iterator[int]:
    size = 1
    while size <= (total or most):
        yield size
        size *= 2
    if total is not None and size // 2 < total:
        yield total
