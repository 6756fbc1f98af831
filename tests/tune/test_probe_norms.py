"""The cache of measured lengths: what comes back is what was kept, and never more than the limit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memtrack.tune.probe_norms import ProbeNormCache

COUNT = 100


def lengths(probes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((probes, COUNT), dtype=np.float32)


def kept() -> list[str]:
    folder = Path(".memtrack/probe_norms")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.bin"))


def test_what_was_kept_comes_back_in_another_process_too() -> None:
    ProbeNormCache("a", COUNT, 1e9).put("3", 0.03, [0, 4], lengths(2))
    other = ProbeNormCache("a", COUNT, 1e9)
    np.testing.assert_array_equal(other.get("3", 0.03, 4), lengths(2)[1])
    for epoch, scale, probe in ((4, 0.03, 4), (3, 0.031, 4), (3, 0.03, 1)):
        assert other.get(str(epoch), scale, probe) is None
    assert ProbeNormCache("b", COUNT, 1e9).get("3", 0.03, 4) is None


def test_scales_that_are_nearly_the_same_are_not() -> None:
    cache = ProbeNormCache("a", COUNT, 1e9)
    cache.put("1", 0.1, [0], lengths(1))
    assert cache.get("1", np.nextafter(0.1, 1), 0) is None


@pytest.mark.parametrize("content", [b"", b"nonsense", b"half"])
def test_a_damaged_file_is_not_there(content: bytes) -> None:
    cache = ProbeNormCache("a", COUNT, 1e9)
    cache.put("1", 0.1, [0], lengths(1))
    (file,) = Path(".memtrack/probe_norms").rglob("*.bin")
    file.write_bytes(file.read_bytes()[:200] if content == b"half" else content)
    assert cache.get("1", 0.1, 0) is None


@pytest.mark.parametrize("change", [lambda row: -row, lambda row: row[::-1], lambda row: row * 0])
def test_other_numbers_in_a_file_are_not_used(change: Callable[[np.ndarray], np.ndarray]) -> None:
    cache = ProbeNormCache("a", COUNT, 1e9)
    cache.put("1", 0.1, [0], lengths(1))
    (file,) = Path(".memtrack/probe_norms").rglob("*.bin")
    file.write_bytes(file.read_bytes()[:32] + change(lengths(1)[0]).tobytes())
    assert cache.get("1", 0.1, 0) is None


def test_the_file_of_another_checkpoint_scale_or_probe_is_not_used() -> None:
    cache = ProbeNormCache("a", COUNT, 1e9)
    cache.put("1", 0.1, [0], lengths(1))
    (file,) = Path(".memtrack/probe_norms").rglob("*.bin")
    for checkpoint, scale, probe in (("2", 0.1, 0), ("1", 0.2, 0), ("1", 0.1, 1)):
        cache.put(checkpoint, scale, [probe], lengths(1, seed=1))
        shutil.copy(file, Path(".memtrack/probe_norms/a", checkpoint, f"h_{scale}", f"probe_{probe}.bin"))
        assert cache.get(checkpoint, scale, probe) is None
    np.testing.assert_array_equal(cache.get("1", 0.1, 0), lengths(1)[0])


def test_of_other_samples_is_not_there() -> None:
    ProbeNormCache("a", COUNT, 1e9).put("1", 0.1, [0], lengths(1))
    assert ProbeNormCache("a", COUNT + 1, 1e9).get("1", 0.1, 0) is None


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    size = 4 * COUNT + 32
    cache = ProbeNormCache("a", COUNT, 10 * size)
    for epoch in range(1, 11):
        cache.put(str(epoch), 0.1, [0], lengths(1, seed=epoch))
    for path in Path(".memtrack/probe_norms").rglob("*.bin"):
        epoch = int(path.parts[-3])
        os.utime(path, (epoch, epoch))
    cache.get("1", 0.1, 0)  # used just now
    ProbeNormCache("b", COUNT, 10 * size).put("1", 0.1, [0], lengths(1))
    # to four fifths of the limit: those of epochs 2, 3 and 4 go
    expected = [f"a/{epoch}/h_0.1/probe_0.bin" for epoch in (1, 5, 6, 7, 8, 9, 10)]
    assert kept() == sorted([*expected, "b/1/h_0.1/probe_0.bin"])


def test_two_processes_may_write_the_same() -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(seed,)) for seed in (1, 2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    found = ProbeNormCache("a", COUNT, 1e9).get("1", 0.1, 0)
    assert found is not None
    assert any(np.array_equal(found, lengths(1, seed)[0]) for seed in (1, 2))
    assert len(list(Path(".memtrack/probe_norms").rglob("*.*"))) == 2  # the file, and the folder of h


def test_another_process_trims_in_the_middle_of_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, other, replace = ProbeNormCache("a", COUNT, 1e9), ProbeNormCache("b", COUNT, 0), Path.replace

    def trim_and_replace(part: Path, path: Path) -> None:
        other.trim()
        replace(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", trim_and_replace)
        cache.put("1", 0.1, [0], lengths(1))
    assert cache.get("1", 0.1, 0) is None
    cache.put("1", 0.1, [0], lengths(1))
    np.testing.assert_array_equal(cache.get("1", 0.1, 0), lengths(1)[0])


def _write(seed: int) -> None:
    cache = ProbeNormCache("a", COUNT, 1e9)
    for _ in range(300):
        cache.put("1", 0.1, [0], lengths(1, seed))
