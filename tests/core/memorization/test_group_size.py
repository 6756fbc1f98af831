"""The size of groups, by the time and the memory that they would take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from memtrack.core.memorization.group_size import GroupSize, fastest_size


class Device:
    """A device on which each group takes a time by its size, and memory in proportion to it."""

    def __init__(
        self, seconds: Callable[[int], float], *, each: int = 0, base: int = 0, free: int = 1
    ) -> None:
        self._seconds, self._each, self._base, self._free = seconds, each, base, free
        self.tried: list[int] = []

    def seconds(self, size: int) -> float:
        self.tried.append(size)
        return self._seconds(size)

    def free(self) -> int:
        return self._free

    def peak(self, job: Callable[[], Any]) -> tuple[Any, int]:
        result = job()
        return result, self._base + self._each * self.tried[-1]


@pytest.mark.parametrize(("times", "best"), [([8, 16, 32, 9], 1), ([8, 17, 12, 24], 4), ([8, 4, 2, 1], 8)])
def test_the_fastest_size_by_the_times(times: list[float], best: int) -> None:
    """Of groups of 1, 2, 4 and 8 that would take so long."""
    by_size = dict(zip((1, 2, 4, 8), times, strict=True))
    assert fastest_size(by_size.__getitem__, 8) == GroupSize(best)


def test_it_goes_on_while_it_gains() -> None:
    """A GPU that does up to 1,000 networks in the time of one."""
    gpu = Device(lambda size: max(1, size / 1000))
    assert fastest_size(gpu.seconds, 100_000).networks == 1024
    assert gpu.tried == [2**power for power in range(13)]


def test_the_number_of_networks_is_tried_though_it_is_no_power_of_two() -> None:
    gpu = Device(lambda _: 1.0)
    assert fastest_size(gpu.seconds, 25, total=100).networks == 100
    assert gpu.tried == [1, 2, 4, 8, 16, 32, 64, 100]
    assert fastest_size(gpu.seconds, 16, total=64).networks == 64
    assert fastest_size(gpu.seconds, 25).networks == 16


def test_large_groups_must_be_short() -> None:
    slow = Device(lambda size: 10 + size)
    assert fastest_size(slow.seconds, 4, total=1000).networks == 32  # 64 would take 74 seconds
    assert fastest_size(slow.seconds, 128, total=1000).networks == 128


@pytest.mark.parametrize("base", [0, 300])
def test_no_size_is_tried_that_may_not_fit(base: int) -> None:
    gpu = Device(lambda _: 1.0, each=10, base=base, free=1000)
    found = fastest_size(gpu.seconds, 100, total=100, memory=gpu).networks
    assert found == max(gpu.tried) == (64 if not base else 16)
    assert base + 10 * found <= 800


def failing(error: Exception, size: int) -> Callable[[int], float]:
    def seconds(tried: int) -> float:
        if tried >= size:
            raise error
        return 1.0

    return seconds


def test_networks_that_cannot_be_stacked_are_trained_alone() -> None:
    for error in (RuntimeError("vmap: no"), TypeError("vmap: no")):
        assert fastest_size(failing(error, 2), 8) == GroupSize(1, "vmap: no")


def test_memory_that_is_too_small_all_the_same_says_nothing_about_stacking() -> None:
    full = torch.OutOfMemoryError("full")
    assert fastest_size(failing(full, 2), 8) == GroupSize(1)
    assert fastest_size(failing(full, 8), 64) == GroupSize(4)
    assert fastest_size(failing(RuntimeError("can't allocate memory"), 2), 8) == GroupSize(1)


def test_a_network_that_cannot_be_trained_at_all_is_an_error() -> None:
    with pytest.raises(TypeError, match="no"):
        fastest_size(failing(TypeError("no"), 1), 8)
