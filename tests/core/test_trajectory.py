"""The trajectory on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memtrack.core.recorder import QUANTITIES
from memtrack.core.trajectory import Trajectory, write_array

IDS = ["train/0003.png", "b", "a", "猫/ä b.png", "0"]


def made_record(epoch: int) -> dict[str, NDArray[Any]]:
    """Numbers that tell quantity, epoch and sample apart."""
    return {
        name: (100 * epoch + 10 * number + np.arange(len(IDS)) / 8).astype(kind)
        for number, (name, kind) in enumerate(QUANTITIES.items())
    }


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def trajectory(tmp_path: Path) -> Trajectory:
    return Trajectory.create(tmp_path / "deep" / "trajectory", IDS)


class HalfWritten:
    """Stands in for np.save: its call number `call` writes some bytes and raises."""

    def __init__(self, call: int, error: BaseException) -> None:
        self.call, self.error, self.calls = call, error, 0
        self.save = np.save

    def __call__(self, file: Any, array: NDArray[Any], **options: Any) -> None:
        self.calls += 1
        if self.calls == self.call:
            file.write(b"\x93NUMPY\x01")
            file.flush()
            raise self.error
        self.save(file, array, **options)


class TestRoundTrip:
    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_quantities(self, trajectory: Trajectory, quantity: str) -> None:
        for epoch in (1, 2, 3):
            trajectory.write(epoch, made_record(epoch))
        opened = Trajectory(trajectory.folder)
        expected = [made_record(epoch)[quantity].tolist() for epoch in (1, 2, 3)]
        assert opened.read(quantity).tolist() == expected
        assert opened.read(quantity).dtype == np.float64
        assert opened.last(quantity).tolist() == expected[-1]
        assert opened.last(quantity).dtype == QUANTITIES[quantity]

    def test_ids_keep_their_order_and_characters(self, trajectory: Trajectory) -> None:
        assert Trajectory(trajectory.folder).ids.tolist() == IDS

    def test_plain_numpy_reads_every_file(self, trajectory: Trajectory) -> None:
        trajectory.write(7, made_record(7))
        folder = trajectory.folder
        assert files(folder) == {"ids.npy"} | {f"{name}/epoch_0007.npy" for name in QUANTITIES}
        assert np.load(folder / "ids.npy", allow_pickle=False).tolist() == IDS
        for name, values in made_record(7).items():
            array = np.load(folder / name / "epoch_0007.npy", allow_pickle=False)
            assert array.dtype == values.dtype
            assert array.tolist() == values.tolist()

    def test_writing_an_epoch_again_replaces_it(self, trajectory: Trajectory) -> None:
        trajectory.write(1, made_record(1))
        trajectory.write(1, made_record(5))
        assert trajectory.epochs == (1,)
        assert trajectory.read("loss").tolist() == [made_record(5)["loss"].tolist()]


class TestEpochs:
    def test_none_at_first(self, trajectory: Trajectory) -> None:
        assert trajectory.epochs == ()

    def test_rise_whatever_the_order_of_writing(self, trajectory: Trajectory) -> None:
        for epoch in (10, 2, 12345, 9999):
            trajectory.write(epoch, made_record(epoch))
        assert trajectory.epochs == (2, 10, 9999, 12345)
        assert trajectory.read("loss")[:, 0].tolist() == [200, 1000, 999900, 1234500]
        assert trajectory.last("loss")[0] == 1234500

    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_without_one_array_an_epoch_does_not_count(self, trajectory: Trajectory, quantity: str) -> None:
        trajectory.write(1, made_record(1))
        trajectory.write(2, made_record(2))
        (trajectory.folder / quantity / "epoch_0002.npy").unlink()
        assert trajectory.epochs == (1,)
        assert trajectory.read("loss").shape == (1, len(IDS))
        assert trajectory.last("loss").tolist() == made_record(1)["loss"].tolist()

    @pytest.mark.parametrize("call", range(1, len(QUANTITIES) + 1))
    def test_an_interrupted_epoch_does_not_count(
        self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch, call: int
    ) -> None:
        trajectory.write(1, made_record(1))
        with monkeypatch.context() as patch:
            patch.setattr(np, "save", HalfWritten(call, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                trajectory.write(2, made_record(2))
        assert trajectory.epochs == (1,)
        trajectory.write(2, made_record(2))
        assert trajectory.epochs == (1, 2)
        assert not [name for name in files(trajectory.folder) if name.endswith(".part")]


class TestWriteArray:
    def test_leaves_the_file_alone(self, tmp_path: Path) -> None:
        write_array(tmp_path / "a" / "b.npy", [1, 2, 3])
        assert files(tmp_path) == {"a/b.npy"}
        assert np.load(tmp_path / "a" / "b.npy").tolist() == [1, 2, 3]

    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    def test_no_half_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        monkeypatch.setattr(np, "save", HalfWritten(1, error))
        with pytest.raises(type(error)):
            write_array(tmp_path / "b.npy", [1, 2, 3])
        assert not (tmp_path / "b.npy").exists()

    def test_an_earlier_file_outlives_a_failed_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_array(tmp_path / "b.npy", [1, 2, 3])
        monkeypatch.setattr(np, "save", HalfWritten(1, OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            write_array(tmp_path / "b.npy", [4])
        assert np.load(tmp_path / "b.npy").tolist() == [1, 2, 3]

    def test_objects_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="allow_pickle"):
            write_array(tmp_path / "b.npy", np.array([{}, None], dtype=object))
        assert not (tmp_path / "b.npy").exists()
