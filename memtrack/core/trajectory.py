"""The recorded numbers of all recorded epochs, on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memtrack.core.recorder import QUANTITIES, EpochRecord


def write_array(path: Path, array: ArrayLike) -> None:
    """Write a .npy file so that it is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            np.save(file, np.asarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Trajectory:
    """A folder of arrays: `ids.npy` (N,) and, for each quantity, `QUANTITY/epoch_0003.npy` (N,).

    Every array is in the order of `ids`. An epoch counts as recorded when all its arrays are there;
    the last quantity in `QUANTITIES` is written last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, ids: Sequence[str]) -> Trajectory:
        """An empty trajectory of the samples `ids`."""
        trajectory = cls(folder)
        write_array(folder / "ids.npy", np.asarray(ids, dtype=np.str_))
        return trajectory

    @property
    def ids(self) -> NDArray[np.str_]:
        """The sample ids (N,)."""
        ids: NDArray[np.str_] = np.load(self.folder / "ids.npy", allow_pickle=False)
        return ids

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that are recorded, rising."""
        found = [
            {int(file.stem.removeprefix("epoch_")) for file in (self.folder / name).glob("*.npy")}
            for name in QUANTITIES
        ]
        return tuple(sorted(set.intersection(*found)))

    def file(self, quantity: str, epoch: int) -> Path:
        """Where the array of a quantity in an epoch is."""
        return self.folder / quantity / f"epoch_{epoch:04d}.npy"

    def write(self, epoch: int, record: EpochRecord) -> None:
        """Add a recorded epoch."""
        for name in QUANTITIES:
            write_array(self.file(name, epoch), record[name])

    def read(self, quantity: str) -> NDArray[np.float64]:
        """All recorded epochs of a quantity, (T, N), in float64 so that sums over epochs are exact."""
        return np.stack([self._load(quantity, epoch) for epoch in self.epochs]).astype(np.float64)

    def last(self, quantity: str) -> NDArray[np.generic]:
        """The last recorded epoch of a quantity, (N,), in its own type."""
        return self._load(quantity, self.epochs[-1])

    def _load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        array: NDArray[np.generic] = np.load(self.file(quantity, epoch), allow_pickle=False)
        return array
