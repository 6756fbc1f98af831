"""Which samples each of many networks gets right, kept as bits in .npz files.

A file holds `key` (the fingerprint of the networks), `numbers` (K,), and for each split a row of packed bits
a network. A network that is in two files counts once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.core.files import whole_file
from memtrack.core.memorization.estimates import Counts

Flags = NDArray[np.bool_]
SPLITS = ("train", "test")
CHUNK = 100
"""The flags of so many networks are in memory at once."""


class DamagedNetworks(Exception):
    """A file that is not whole, or not of these networks."""


class OtherNetworks(DamagedNetworks):
    """A file of other networks."""


class CorrectPredictions:
    """Networks by number.

    Args:
        key: of the fingerprint of the networks.
        samples: how many samples the splits `train` and `test` have.
    """

    def __init__(self, key: str, samples: tuple[int, int]) -> None:
        self._key = key
        self._samples = dict(zip(SPLITS, samples, strict=True))
        self._bits: dict[int, tuple[NDArray[np.uint8], ...]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._bits

    def __len__(self) -> int:
        return len(self._bits)

    def flags(self, split: str, numbers: Iterable[int]) -> Flags:
        """Which samples of a split some networks get right, (K, N)."""
        packed = np.array([self._bits[number][SPLITS.index(split)] for number in numbers], dtype=np.uint8)
        count = self._samples[split]
        return np.unpackbits(packed.reshape(-1, -(-count // 8)), axis=1, count=count).astype(bool)

    def add(self, numbers: Sequence[int], train: Flags, test: Flags) -> None:
        """Add networks: which samples of each split each gets right, (K, N) and (K, T)."""
        packed = (np.packbits(flags, axis=1) for flags in (train, test))
        self._bits |= dict(zip(numbers, zip(*packed, strict=True), strict=True))

    def count(self, counts: Counts, numbers: Sequence[int], members: Callable[[int], Flags]) -> None:
        """Add networks to `counts`; `members` says which samples each was trained on, (N,)."""
        for start in range(0, len(numbers), CHUNK):
            part = numbers[start : start + CHUNK]
            counts.add(np.stack([members(number) for number in part]), self.flags("train", part))

    def write(self, path: Path, numbers: Sequence[int]) -> None:
        """Write some networks to a file; on the disk before this returns."""
        parts = zip(*(self._bits[number] for number in numbers), strict=True)
        arrays = {name: np.stack(part) for name, part in zip(SPLITS, parts, strict=True)}
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, key=np.array(self._key),
                     numbers=np.asarray(numbers, dtype=np.int64), **arrays)  # fmt: skip

    def read(self, path: Path) -> list[int]:
        """Add the networks of a file; the numbers that were not there.

        Raises:
            DamagedNetworks: and nothing is added.
        """
        content = io.BytesIO(path.read_bytes())  # what cannot be read need not be damaged
        try:
            with np.load(content, allow_pickle=False) as arrays:  # each has a checksum
                key, numbers, *bits = (arrays[name] for name in ("key", "numbers", *SPLITS))
        except Exception as error:  # zipfile and NumPy have many for a damaged file
            raise DamagedNetworks(str(error)) from None
        shapes = [(len(numbers), -(-count // 8)) for count in self._samples.values()]
        if str(key) != self._key or [part.shape for part in bits] != shapes:
            raise OtherNetworks("it holds other networks")
        found = dict(zip(numbers.tolist(), zip(*bits, strict=True), strict=True))
        new = sorted(found.keys() - self._bits.keys())
        self._bits |= {number: found[number] for number in new}
        return new
