"""The trajectory on disk."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import subprocess
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memtrack.core.files import file_hash, whole_file
from memtrack.core.kept_files import write_array
from memtrack.core.recording.recorder import QUANTITIES
from memtrack.core.recording.trajectory import Trajectory

IDS = ["train/0003.png", "b", "a", "猫/ä b.png", "0"]

Record = dict[str, NDArray[Any]]


def made_record(epoch: int, count: int = len(IDS)) -> Record:
    """Numbers that tell quantity, epoch and sample apart."""
    return {
        name: (100 * epoch + 10 * number + np.arange(count) / 8).astype(kind)
        for number, (name, kind) in enumerate(QUANTITIES.items())
    }


def parts_of(record: Record, size: int = 2) -> Iterator[Record]:
    """The record in batches."""
    for start in range(0, len(record["loss"]), size):
        yield {name: values[start : start + size] for name, values in record.items()}


def saved(array: NDArray[Any]) -> bytes:
    """The bytes that NumPy itself writes."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def epoch_files(epoch: int) -> set[str]:
    return {f"{name}/epoch_{epoch:04d}.npy" for name in QUANTITIES} | {f"epochs/epoch_{epoch:04d}.json"}


@pytest.fixture
def trajectory(tmp_path: Path) -> Trajectory:
    return Trajectory.create(tmp_path / "deep" / "trajectory", IDS)


class TestRoundTrip:
    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_quantities(self, trajectory: Trajectory, quantity: str) -> None:
        for epoch in (1, 2, 3):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        opened = Trajectory(trajectory.folder)
        expected = [made_record(epoch)[quantity].tolist() for epoch in (1, 2, 3)]
        assert opened.read(quantity).tolist() == expected
        assert opened.read(quantity).dtype == np.float64
        assert opened.last(quantity).tolist() == expected[-1]
        assert opened.last(quantity).dtype == QUANTITIES[quantity]

    def test_ids_keep_their_order_and_characters(self, trajectory: Trajectory) -> None:
        assert Trajectory(trajectory.folder).ids.tolist() == IDS

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_files_are_what_numpy_writes(self, trajectory: Trajectory, size: int) -> None:
        """Byte for byte, and nothing else is there but their hashes."""
        trajectory.write(7, parts_of(made_record(7), size))
        folder = trajectory.folder
        assert files(folder) == {"ids.npy"} | epoch_files(7)
        assert (folder / "ids.npy").read_bytes() == saved(np.array(IDS))
        record = json.loads((folder / "epochs" / "epoch_0007.json").read_text())
        hashes = record.pop("arrays")
        assert record == {"epoch": 7, "made_from": {}}
        assert list(hashes) == list(QUANTITIES)
        for name, values in made_record(7).items():
            content = (folder / name / "epoch_0007.npy").read_bytes()
            assert content == saved(values)
            assert hashes[name] == hashlib.sha256(saved(values)).hexdigest()

    @pytest.mark.parametrize("count", [1, 999, 70_001])
    def test_of_many_samples(self, tmp_path: Path, count: int) -> None:
        trajectory = Trajectory.create(tmp_path, [str(number) for number in range(count)])
        record = made_record(3, count)
        trajectory.write(3, parts_of(record, 1000))
        for name, values in record.items():
            assert trajectory.file(name, 3).read_bytes() == saved(values)

    def test_other_types_are_made_those_of_the_quantities(self, trajectory: Trajectory) -> None:
        record = made_record(1)
        wide = {name: values.astype(np.float64) for name, values in record.items()}
        trajectory.write(1, [wide])
        for name, values in record.items():
            assert trajectory.file(name, 1).read_bytes() == saved(values)

    def test_writing_an_epoch_again_replaces_it(self, trajectory: Trajectory) -> None:
        trajectory.write(1, parts_of(made_record(1)))
        trajectory.write(1, parts_of(made_record(5)))
        assert trajectory.epochs == (1,)
        assert trajectory.read("loss").tolist() == [made_record(5)["loss"].tolist()]


class TestEpochs:
    def test_none_at_first(self, trajectory: Trajectory) -> None:
        assert trajectory.epochs == ()

    def test_rise_whatever_the_order_of_writing(self, trajectory: Trajectory) -> None:
        for epoch in (10, 2, 12345, 9999):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        assert trajectory.epochs == (2, 10, 9999, 12345)
        assert trajectory.read("loss")[:, 0].tolist() == [200, 1000, 999900, 1234500]
        assert trajectory.last("loss")[0] == 1234500

    def test_without_its_hashes_an_epoch_does_not_count(self, trajectory: Trajectory) -> None:
        trajectory.write(1, parts_of(made_record(1)))
        trajectory.write(2, parts_of(made_record(2)))
        (trajectory.folder / "epochs" / "epoch_0002.json").unlink()
        assert trajectory.epochs == (1,)
        assert trajectory.read("loss").shape == (1, len(IDS))
        assert trajectory.last("loss").tolist() == made_record(1)["loss"].tolist()

    def test_hashes_are_written_last(self, trajectory: Trajectory) -> None:
        seen = []

        def watched() -> Iterator[Record]:
            for part in parts_of(made_record(1)):
                seen.append((trajectory.epochs, files(trajectory.folder) & epoch_files(1)))
                yield part

        trajectory.write(1, watched())
        assert seen == [((), set())] * 3

    def test_files_lists_them_with_the_hashes_last(self, trajectory: Trajectory) -> None:
        trajectory.write(4, parts_of(made_record(4)))
        found = [str(path.relative_to(trajectory.folder)) for path in trajectory.files(4)]
        assert set(found) == epoch_files(4)
        assert len(found) == len(set(found))
        assert found[-1] == "epochs/epoch_0004.json"

    def test_discard(self, trajectory: Trajectory) -> None:
        for epoch in (1, 2):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        trajectory.discard(1)
        trajectory.discard(3)
        assert trajectory.epochs == (2,)
        assert files(trajectory.folder) == {"ids.npy"} | epoch_files(2)
        assert trajectory.damaged(2) is None

    def test_created_again_keeps_its_epochs(self, trajectory: Trajectory) -> None:
        trajectory.write(1, parts_of(made_record(1)))
        again = Trajectory.create(trajectory.folder, IDS)
        assert again.epochs == (1,)
        assert again.damaged(1) is None


class TestMemory:
    def test_batches_are_not_kept(self, trajectory: Trajectory) -> None:
        """The batch before the last is gone when the next is made."""
        alive = []

        def watched() -> Iterator[Record]:
            past: list[weakref.ref[NDArray[Any]]] = []
            for start in range(len(IDS)):
                alive.append(sum(each() is not None for each in past[:-1]))
                part = {name: values[start : start + 1].copy() for name, values in made_record(1).items()}
                past.append(weakref.ref(part["loss"]))
                yield part
                del part

        trajectory.write(1, watched())
        assert alive == [0] * len(IDS)

    def test_epochs_are_loaded_one_by_one(
        self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for epoch in (1, 2, 3):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        loaded = []
        load = np.load
        monkeypatch.setattr(np, "load", lambda path, **options: loaded.append(path) or load(path, **options))
        values = next(trajectory.each("margin"))
        assert values.dtype == np.float64
        assert values.tolist() == made_record(1)["margin"].tolist()
        assert loaded == [trajectory.file("margin", 1)]


class TestMean:
    def test_of_many_epochs(self, trajectory: Trajectory) -> None:
        """Against sums that are exact, which in float32 they would not be."""
        generator = np.random.default_rng(3)
        rows = []
        for epoch in range(1, 41):
            record = made_record(epoch)
            record["curvature"] = (10 ** generator.uniform(-6, 6, len(IDS))).astype(np.float32)
            rows.append(record["curvature"].astype(np.float64))
            trajectory.write(epoch, parts_of(record))
        found = trajectory.mean("curvature")
        assert found.dtype == np.float64
        expected = [math.fsum(column) / 40 for column in zip(*rows, strict=True)]
        assert found.tolist() == pytest.approx(expected, rel=1e-15)
        assert found.tolist() == pytest.approx(trajectory.read("curvature").mean(axis=0).tolist(), rel=1e-15)

    def test_of_labels(self, trajectory: Trajectory) -> None:
        for epoch in (1, 2):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        one, other = (made_record(epoch)["predicted"] for epoch in (1, 2))
        assert trajectory.mean("predicted").tolist() == ((one + other) / 2).tolist()


class Full:
    """Stands in for os.fsync: from its call number `call` on the disk is full."""

    def __init__(self, call: int, error: BaseException) -> None:
        self.call, self.error, self.calls = call, error, 0
        self.fsync = os.fsync

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls >= self.call:
            raise self.error
        self.fsync(descriptor)


class FullAfter(io.FileIO):
    """A file that takes so many bytes, with a number for all such files together."""

    left = 0

    def write(self, content: Any) -> int:
        FullAfter.left -= len(content)
        if FullAfter.left < 0:
            raise no_space()
        return super().write(content)


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def too_long(epoch: int) -> Iterator[Record]:
    yield from parts_of(made_record(epoch))
    yield from parts_of(made_record(epoch), 1)


def failing(error: BaseException, after: int) -> Callable[[int], Iterator[Record]]:
    def parts(epoch: int) -> Iterator[Record]:
        for number, part in enumerate(parts_of(made_record(epoch), 1)):
            if number == after:
                raise error
            yield part

    return parts


class TestInterrupted:
    """An epoch that could not be written leaves nothing, and the ones before it are whole."""

    def check(
        self, trajectory: Trajectory, write: Callable[[], None], error: type[BaseException], message: str
    ) -> None:
        trajectory.write(1, parts_of(made_record(1)))
        with pytest.raises(error, match=message):
            write()
        assert trajectory.epochs == (1,)
        assert trajectory.damaged(1) is None
        assert trajectory.read("loss").tolist() == [made_record(1)["loss"].tolist()]
        assert files(trajectory.folder) == {"ids.npy"} | epoch_files(1)

    @pytest.mark.parametrize(
        ("parts", "count"),
        [(lambda epoch: [], 0), (lambda epoch: parts_of(made_record(epoch, 4)), 4), (too_long, 10)],
        ids=["none", "one too few", "too many"],
    )
    def test_another_number_of_samples(self, trajectory: Trajectory, parts: Any, count: int) -> None:
        message = f"epoch 2: {count} samples were recorded instead of 5"
        self.check(trajectory, lambda: trajectory.write(2, parts(2)), ValueError, message)

    @pytest.mark.parametrize("after", [0, 3, 4])
    @pytest.mark.parametrize("error", [RuntimeError("diverged"), KeyboardInterrupt("diverged")])
    def test_the_batches_fail(self, trajectory: Trajectory, error: BaseException, after: int) -> None:
        parts = failing(error, after)
        self.check(trajectory, lambda: trajectory.write(2, parts(2)), type(error), "diverged")

    @pytest.mark.parametrize("call", range(1, len(QUANTITIES) + 2))
    def test_the_disk_is_full_at_the_end(
        self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch, call: int
    ) -> None:
        """When one of the seven arrays or the hashes are to be flushed."""

        def write() -> None:
            monkeypatch.setattr(os, "fsync", Full(call, no_space()))
            trajectory.write(2, parts_of(made_record(2)))

        self.check(trajectory, write, OSError, "No space left")

    @pytest.mark.parametrize("room", [0, 100, 1000, 10_000])
    def test_the_disk_is_full_on_the_way(
        self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch, room: int
    ) -> None:
        """With room for part of the 28 * 1000 bytes of the seven arrays."""
        FullAfter.left = room
        large = Trajectory.create(trajectory.folder, [f"{number}" for number in range(1000)])
        large.write(1, parts_of(made_record(1, 1000)))
        before = files(large.folder)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda path, mode: FullAfter(path, mode))
            with pytest.raises(OSError, match="No space left"):
                large.write(2, parts_of(made_record(2, 1000)))
        assert files(large.folder) == before
        assert large.epochs == (1,)
        assert large.damaged(1) is None

    def test_an_epoch_that_is_written_anew_does_not_count_until_it_is_whole(
        self, trajectory: Trajectory
    ) -> None:
        trajectory.write(1, parts_of(made_record(1)))
        with pytest.raises(ValueError, match="0 samples"):
            trajectory.write(1, [])
        assert trajectory.epochs == ()
        trajectory.write(1, parts_of(made_record(1)))
        assert trajectory.damaged(1) is None

    def test_can_be_written_after_all(self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", Full(4, no_space()))
            with pytest.raises(OSError, match="No space left"):
                trajectory.write(2, parts_of(made_record(2)))
        assert trajectory.epochs == ()
        trajectory.write(2, parts_of(made_record(2)))
        assert trajectory.epochs == (2,)
        assert trajectory.damaged(2) is None


PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 pages, 64 KB on most machines."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={16 * PAGE}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"there is no mount: {error}")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class TestFullDisk:
    def fill(self, disk: Path, epochs: int) -> Trajectory:
        """Epochs of eight files, each within a page."""
        count = 700
        trajectory = Trajectory.create(disk / "trajectory", [f"{number:x}" for number in range(count)])
        for epoch in range(1, epochs + 1):
            trajectory.write(epoch, parts_of(made_record(epoch, count)))
        return trajectory

    def test_the_epochs_before_are_whole_and_it_goes_on_when_there_is_room(self, small_disk: Path) -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(4 * PAGE))
        trajectory = self.fill(small_disk, 1)
        with pytest.raises(OSError, match="No space left"):
            trajectory.write(2, parts_of(made_record(2, 700)))
        assert trajectory.epochs == (1,)
        assert trajectory.damaged(1) is None
        assert not [name for name in files(small_disk) if name.endswith(".part")]
        ballast.unlink()
        trajectory.discard(1)
        trajectory.write(2, parts_of(made_record(2, 700)))
        assert trajectory.epochs == (2,)
        assert trajectory.damaged(2) is None

    def test_nothing_is_left_of_the_epoch(self, small_disk: Path) -> None:
        trajectory = self.fill(small_disk, 1)
        before = files(small_disk)
        with pytest.raises(OSError, match="No space left"):
            trajectory.write(2, parts_of(made_record(2, 700)))
        assert files(small_disk) == before

    def test_write_array_says_that_the_disk_is_full(self, small_disk: Path) -> None:
        with pytest.raises(OSError, match="No space left") as caught:
            write_array(small_disk / "a" / "b.npy", np.zeros(4 * PAGE))
        assert caught.value.errno == errno.ENOSPC
        assert files(small_disk) == set()


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


class TestDamaged:
    @pytest.fixture(autouse=True)
    def _written(self, trajectory: Trajectory) -> None:
        for epoch in (1, 2):
            trajectory.write(epoch, parts_of(made_record(epoch)))
        assert trajectory.damaged(1) is None
        assert trajectory.damaged(2) is None

    @pytest.mark.parametrize("quantity", ["loss", "predicted", "curvature"])
    @pytest.mark.parametrize(
        "harm",
        [
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes() + b"\0"),
            lambda path: flip(path, -3),
            lambda path: flip(path, 20),
            lambda path: path.unlink(),
            lambda path: (path.unlink(), path.mkdir()),
            lambda path: path.write_bytes(path.with_name("epoch_0001.npy").read_bytes()),
        ],
        ids=["truncated", "empty", "longer", "a number", "the header", "gone", "a folder", "another epoch"],
    )
    def test_an_array(self, trajectory: Trajectory, quantity: str, harm: Callable[[Path], Any]) -> None:
        path = trajectory.file(quantity, 2)
        harm(path)
        assert trajectory.damaged(2) == path
        assert trajectory.damaged(1) is None

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b'{"loss": ',
            b"\xff\xfe",
            b"{}",
            b"[]",
            b"[1]",
            b"3",
            b"null",
        ],
    )
    def test_the_hashes(self, trajectory: Trajectory, content: bytes) -> None:
        path = trajectory.folder / "epochs" / "epoch_0002.json"
        path.write_bytes(content)
        assert trajectory.damaged(2) is not None
        path.unlink()
        assert trajectory.damaged(2) == path
        assert trajectory.damaged(1) is None

    def test_any_byte_of_the_hashes(self, trajectory: Trajectory) -> None:
        path = trajectory.folder / "epochs" / "epoch_0002.json"
        content = path.read_bytes()
        for place in range(0, len(content) - 1, 7):
            path.write_bytes(content)
            if not content[place : place + 1].isspace():
                flip(path, place)
                assert trajectory.damaged(2) is not None, place

    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_any_array(self, trajectory: Trajectory, quantity: str) -> None:
        flip(trajectory.file(quantity, 2), -1)
        assert trajectory.damaged(2) == trajectory.file(quantity, 2)

    def test_the_first_of_several(self, trajectory: Trajectory) -> None:
        one, other = list(QUANTITIES)[2], list(QUANTITIES)[4]
        trajectory.file(other, 2).unlink()
        flip(trajectory.file(one, 2), -1)
        assert trajectory.damaged(2) == trajectory.file(one, 2)

    def test_two_epochs_that_are_exchanged(self, trajectory: Trajectory) -> None:
        for first, second in zip(trajectory.files(1), trajectory.files(2), strict=True):
            other = first.with_name("other")
            first.rename(other)
            second.rename(first)
            other.rename(second)
        assert [trajectory.damaged(epoch) for epoch in (1, 2)] == [
            trajectory.files(epoch)[-1] for epoch in (1, 2)
        ]

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros(len(IDS) + 1, dtype=np.float32),
            np.zeros(len(IDS), dtype=np.float64),
            np.zeros((len(IDS), 1), dtype=np.float32),
            np.full(len(IDS), np.nan, dtype=np.float32),
            np.full(len(IDS), np.inf, dtype=np.float32),
            np.array(IDS, dtype=object),
        ],
        ids=["longer", "another type", "another shape", "NaN", "infinite", "objects"],
    )
    def test_an_array_with_a_hash_that_fits(self, trajectory: Trajectory, array: np.ndarray) -> None:
        path, record = trajectory.file("loss", 2), trajectory.files(2)[-1]
        np.save(path, array)
        content = json.loads(record.read_text())
        content["arrays"]["loss"] = hashlib.sha256(path.read_bytes()).hexdigest()
        record.write_text(json.dumps(content))
        assert trajectory.damaged(2) == path


class TestWholeFile:
    def test_appears_when_it_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b.json"
        with whole_file(path) as file:
            file.write(b"12")
            assert not path.exists()
            file.write(b"34")
        assert path.read_bytes() == b"1234"
        assert files(tmp_path) == {"a/b.json"}

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("no")])
    def test_or_not_at_all(self, tmp_path: Path, error: BaseException) -> None:
        path = tmp_path / "b.json"
        path.write_bytes(b"old")

        def write() -> None:
            with whole_file(path) as file:
                file.write(b"new")
                raise error

        with pytest.raises(type(error), match="no"):
            write()
        assert path.read_bytes() == b"old"
        assert files(tmp_path) == {"b.json"}

    def test_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", Full(1, no_space()))
        with pytest.raises(OSError, match="No space left"), whole_file(tmp_path / "b.json") as file:
            file.write(b"1")
        assert files(tmp_path) == set()


@pytest.mark.parametrize("count", [0, 1, 100_000])
def test_file_hash(tmp_path: Path, count: int) -> None:
    content = bytes(number % 251 for number in range(count))
    (tmp_path / "a").write_bytes(content)
    assert file_hash(tmp_path / "a") == hashlib.sha256(content).hexdigest()


class TestWriteArray:
    @pytest.mark.parametrize(
        "array",
        [
            np.array([1, 2, 3]),
            np.linspace(0, 1, 10_000, dtype=np.float32),
            np.array(["a", "猫"]),
            np.array([], dtype=np.float32),
            np.float64(3),
            np.arange(6).reshape(2, 3),
            np.array([True, False]),
            np.arange(10)[::3],
            np.arange(3, dtype=">i4"),
        ],
        ids=lambda array: f"{array.dtype.str} {array.shape}",
    )
    def test_is_what_numpy_writes(self, tmp_path: Path, array: NDArray[Any]) -> None:
        write_array(tmp_path / "a" / "b.npy", array)
        assert files(tmp_path) == {"a/b.npy"}
        assert (tmp_path / "a" / "b.npy").read_bytes() == saved(array)

    def test_whatever_its_order_in_memory(self, tmp_path: Path) -> None:
        array = np.asfortranarray(np.arange(6).reshape(2, 3))
        write_array(tmp_path / "b.npy", array)
        assert np.load(tmp_path / "b.npy").tolist() == array.tolist()

    @pytest.mark.parametrize("error", [no_space(), KeyboardInterrupt("No space left")])
    def test_no_half_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        monkeypatch.setattr(os, "fsync", Full(1, error))
        with pytest.raises(type(error), match="No space left"):
            write_array(tmp_path / "b.npy", [1, 2, 3])
        assert files(tmp_path) == set()

    def test_an_earlier_file_outlives_a_failed_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_array(tmp_path / "b.npy", [1, 2, 3])
        monkeypatch.setattr(os, "fsync", Full(1, no_space()))
        with pytest.raises(OSError, match="No space left"):
            write_array(tmp_path / "b.npy", [4])
        assert np.load(tmp_path / "b.npy").tolist() == [1, 2, 3]
        assert files(tmp_path) == {"b.npy"}

    def test_objects_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="objects"):
            write_array(tmp_path / "b.npy", np.array([{}, None], dtype=object))
        assert files(tmp_path) == set()
