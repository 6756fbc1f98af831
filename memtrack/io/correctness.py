"""Which samples each of many networks gets right, kept as bits in a folder of .npz files.

A file holds the networks of one group: `numbers` (K,), and for each split a row of packed bits a network. A
network that is in two files counts once; a file that is not whole is said and removed: its networks are
trained again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.core.files import whole_file

Flags = NDArray[np.bool_]
SPLITS = ("train", "test")


class Correctness:
    """The networks that are trained, by number.

    Args:
        samples: how many samples the splits `train` and `test` have.
    """

    def __init__(self, folder: Path, samples: tuple[int, int]) -> None:
        self.folder = folder
        self._samples = dict(zip(SPLITS, samples, strict=True))
        self._bits: dict[int, tuple[NDArray[np.uint8], ...]] = {}
        for path in sorted(folder.glob("*.npz")):
            try:
                self._read(path)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                print(f"{path}: is damaged: its networks are trained again")
                path.unlink()

    def __contains__(self, number: int) -> bool:
        return number in self._bits

    def __len__(self) -> int:
        return len(self._bits)

    def add(self, numbers: Sequence[int], train: Flags, test: Flags) -> None:
        """Keep networks: which samples of each split each gets right, (K, N) and (K, T); on the disk before
        this returns."""
        kept = {name: np.packbits(flags, axis=1) for name, flags in zip(SPLITS, (train, test), strict=True)}
        self._write(self.folder / f"{numbers[0]:08d}_{len(numbers)}.npz", numbers, kept)
        self._bits |= dict(zip(numbers, zip(*kept.values(), strict=True), strict=True))

    def flags(self, split: str, numbers: Iterable[int]) -> Flags:
        """Which samples of a split some networks get right, (K, N)."""
        packed = np.array([self._bits[number][SPLITS.index(split)] for number in numbers], dtype=np.uint8)
        count = self._samples[split]
        return np.unpackbits(packed.reshape(-1, -(-count // 8)), axis=1, count=count).astype(bool)

    def publish(self, path: Path, count: int) -> None:
        """Write the networks 0 to `count` - 1 to one file."""
        kept = [self._bits[number] for number in range(count)]
        arrays = {name: np.stack(part) for name, part in zip(SPLITS, zip(*kept, strict=True), strict=True)}
        self._write(path, range(count), arrays)

    def _write(self, path: Path, numbers: Sequence[int], arrays: dict[str, NDArray[np.uint8]]) -> None:
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, numbers=np.asarray(numbers, dtype=np.int64), **arrays)

    def _read(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:  # each has a checksum
            numbers, *bits = (arrays[name] for name in ("numbers", *SPLITS))
        for part, count in zip(bits, self._samples.values(), strict=True):
            if part.shape != (len(numbers), -(-count // 8)):
                raise ValueError("of other samples")
        self._bits |= dict(zip(numbers.tolist(), zip(*bits, strict=True), strict=True))
