"""The choice of the fastest batch size, on a machine that is made up, and on this one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cases import IMAGE, Branching, in_batches, samples, small_cnn, surroundings
from torch import Tensor, nn

from memtrack.core.recording import recorder
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.recorder import QUANTITIES, fastest_batch_size, joined, record_epoch

ESTIMATOR = ForwardDifference(0.1)
SIZES = [16, 32, 64, 128, 256, 512]


class Machine:
    """Stands in for `record_epoch` and the clock.

    Args:
        seconds: that a sweep takes by the batch size; the first sweep takes an hour more.
        odd: at these sizes one number of one sample is another, by the last bit.
        full: from this size on the memory does not suffice.
    """

    def __init__(self, seconds: dict[int, float], odd: Iterable[int] = (), full: int = 10**9) -> None:
        self.seconds, self.odd, self.full = seconds, set(odd), full
        self.now = 1000.0
        self.tried: list[int] = []

    def __call__(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], estimator: Any, *, epoch: int
    ) -> Iterator[dict[str, Any]]:
        sizes = [len(labels) for _, labels in batches]
        size, count = sizes[0], sum(sizes)
        self.now += self.seconds[size] + (0 if self.tried else 3600)
        self.tried.append(size)
        if size >= self.full:
            raise torch.OutOfMemoryError("out of memory")
        record = {name: np.linspace(0.1, 1, count).astype(kind) for name, kind in QUANTITIES.items()}
        if size in self.odd:
            record["margin"][-1] = np.nextafter(record["margin"][-1], np.float32(2))
        yield record

    def perf_counter(self) -> float:
        return self.now


def choose(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int = 1024,
    shape: tuple[int, ...] = (1,),
    threads: int = 1,
    device: str = "cpu",
) -> int:
    """The choice on that machine, for samples that take up no memory."""
    monkeypatch.setattr(recorder, "record_epoch", machine)
    monkeypatch.setattr(time, "perf_counter", machine.perf_counter)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    inputs = torch.zeros(1, device=device).expand(count, *shape)
    labels = torch.zeros(1, dtype=torch.int64, device=device).expand(count)
    return fastest_batch_size(nn.Identity(), inputs, labels, ESTIMATOR)


FALLING = {size: 1 / size for size in (*SIZES, 1024, 2048, 4096)}


class TestRule:
    @pytest.mark.parametrize("best", SIZES)
    def test_takes_the_least_time(self, monkeypatch: pytest.MonkeyPatch, best: int) -> None:
        """The first sweep, which warms up, does not count."""
        machine = Machine({size: 1 + abs(np.log2(size / best)) for size in SIZES})
        assert choose(machine, monkeypatch) == best
        assert machine.tried == [16, *SIZES]

    @pytest.mark.parametrize(
        ("odd", "expected"), [([512], 256), ([512, 128], 256), ([32, 64, 128, 256, 512], 16)]
    )
    def test_never_a_size_with_other_numbers(
        self, monkeypatch: pytest.MonkeyPatch, odd: list[int], expected: int
    ) -> None:
        assert choose(Machine(FALLING, odd), monkeypatch) == expected

    @pytest.mark.parametrize(("full", "expected"), [(16, 16), (32, 16), (64, 32), (512, 256)])
    def test_full_memory_ends_the_climb(
        self, monkeypatch: pytest.MonkeyPatch, full: int, expected: int
    ) -> None:
        machine = Machine(FALLING, full=full)
        assert choose(machine, monkeypatch) == expected
        assert sum(size >= full for size in machine.tried) == 1

    @pytest.mark.parametrize(
        ("count", "threads", "shape", "largest"),
        [
            (1024, 1, (3, 32, 32), 256),  # 2^20 numbers
            (1024, 1, (3, 224, 224), 16),
            (1024, 4, (1,), 256),
            (100, 1, (1,), 64),
            (100, 2, (1,), 32),
            (31, 1, (1,), 16),
            (3, 2, (1,), 16),
        ],
    )
    def test_each_thread_gets_a_batch_and_a_batch_fits_the_cache(
        self, monkeypatch: pytest.MonkeyPatch, count: int, threads: int, shape: tuple[int, ...], largest: int
    ) -> None:
        machine = Machine(FALLING | {count: 1.0} if count < 16 else FALLING)
        found = choose(machine, monkeypatch, count=count, threads=threads, shape=shape)
        assert found == largest
        assert max(machine.tried, default=16) == largest

    @pytest.mark.parametrize(("gain", "expected"), [(0.5, 4096), (0.03, 4096), (0.01, 16)])
    def test_elsewhere_a_size_is_doubled_while_each_sample_gets_cheaper(
        self, monkeypatch: pytest.MonkeyPatch, gain: float, expected: int
    ) -> None:
        """Each size is warmed up by one batch and timed on two."""
        sizes = [*SIZES, 1024, 2048, 4096]
        machine = Machine({size: size * (1 - gain) ** number for number, size in enumerate(sizes)})
        assert choose(machine, monkeypatch, count=8192, device="meta") == expected
        assert machine.tried[::2] == machine.tried[1::2]
        assert machine.tried[::2] == [16, *(sizes if expected == 4096 else sizes[:2])]

    def test_elsewhere_than_on_a_cpu_rounding_does_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine(FALLING, odd=[64, 4096])
        assert choose(machine, monkeypatch, count=5000, device="meta", threads=64) == 4096


@pytest.mark.parametrize(
    ("shape", "device", "expected"),
    [((3, 32, 32), "cpu", 512), ((3, 32, 32), "meta", 8192), ((3, 224, 224), "meta", 222),
     ((3, 4096, 4096), "meta", 16)],
)  # fmt: skip
def test_how_many_samples_it_takes(
    shape: tuple[int, ...], device: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU 256 for each thread, elsewhere two of the largest batches."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert recorder.samples_to_time(shape, torch.device(device)) == expected


class TestOnThisMachine:
    @pytest.mark.parametrize("count", [3, 16, 133])
    @pytest.mark.parametrize("branching", [False, True])
    def test_a_power_of_two_that_changes_no_number(self, count: int, branching: bool) -> None:
        network = Branching(small_cnn()) if branching else small_cnn()
        inputs, labels = samples(count, IMAGE)
        inputs = inputs.float()
        before = surroundings()
        size = fastest_batch_size(network, inputs, labels, ESTIMATOR)
        assert surroundings() == before
        assert all(module.training for module in network.modules())
        assert size in [16, 32, 64, 128][: 1 if count < 32 else 4]
        found, smallest = (
            joined(record_epoch(network, in_batches(inputs, labels, each), ESTIMATOR, epoch=0))
            for each in (size, 16)
        )
        for name in QUANTITIES:
            np.testing.assert_array_equal(found[name], smallest[name], name)

    def test_other_errors_are_not_swallowed(self) -> None:
        inputs, labels = samples(32 * torch.get_num_threads(), IMAGE)
        with pytest.raises(FloatingPointError):
            fastest_batch_size(small_cnn(), inputs.float() * float("inf"), labels, ESTIMATOR)
