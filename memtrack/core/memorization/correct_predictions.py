"""Which samples each of many networks predicts correctly, stored as bits in .npz files.

A file holds `key` (the fingerprint of the networks), `numbers` (K,), and for each split one row of packed
bits per network. If the log odds of the training samples are kept, it also holds `log_odds` (K, N) and
`log_odds_key`, which says how they were computed. A network that is in two files counts once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrack.core.files import whole_file
from memtrack.core.memorization.estimates import Counts

Flags = NDArray[np.bool_]
LogOdds = NDArray[np.float32]
SPLITS = ("train", "test")
CHUNK = 100
"""The number of networks whose flags are in memory at once."""


class DamagedNetworks(Exception):
    """A file that is damaged, or belongs to other networks."""


class OtherNetworks(DamagedNetworks):
    """A file that belongs to other networks."""


class CorrectPredictions:
    """The correct predictions of networks, by network number.

    Args:
        key: the key of the networks' fingerprint.
        samples: how many samples the splits `train` and `test` have.
        log_odds_key: how the log odds of the training samples are computed; networks without them do not
            count. None: they are not kept.
    """

    def __init__(self, key: str, samples: tuple[int, int], log_odds_key: str | None = None) -> None:
        self._key, self._log_odds_key = key, log_odds_key
        self._samples = dict(zip(SPLITS, samples, strict=True))
        self._bits: dict[int, tuple[NDArray[np.uint8], ...]] = {}
        self._log_odds: dict[int, LogOdds] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._bits

    def __len__(self) -> int:
        return len(self._bits)

    def flags(self, split: str, numbers: Iterable[int]) -> Flags:
        """Which samples of a split some networks predict correctly, (K, N)."""
        packed = np.array([self._bits[number][SPLITS.index(split)] for number in numbers], dtype=np.uint8)
        count = self._samples[split]
        return np.unpackbits(packed.reshape(-1, -(-count // 8)), axis=1, count=count).astype(bool)

    @property
    def keep_log_odds(self) -> bool:
        """Whether the log odds of the training samples are kept."""
        return self._log_odds_key is not None

    def log_odds(self, numbers: Iterable[int]) -> LogOdds:
        """The log odds of the training samples in some networks, (K, N)."""
        return np.stack([self._log_odds[number] for number in numbers])

    def add(self, numbers: Sequence[int], train: Flags, test: Flags, log_odds: LogOdds | None = None) -> None:
        """Add networks: which samples of each split each predicts correctly, (K, N) and (K, T), and the log
        odds of the training samples (K, N) if they are kept."""
        packed = (np.packbits(flags, axis=1) for flags in (train, test))
        self._bits |= dict(zip(numbers, zip(*packed, strict=True), strict=True))
        if log_odds is not None:
            self._log_odds |= dict(zip(numbers, log_odds, strict=True))

    def count(self, counts: Counts, numbers: Sequence[int], members: Callable[[int], Flags]) -> None:
        """Add networks to `counts`. `members` returns which samples a network was trained on, (N,)."""
        for start in range(0, len(numbers), CHUNK):
            part = numbers[start : start + CHUNK]
            counts.add(np.stack([members(number) for number in part]), self.flags("train", part))

    def write(self, path: Path, numbers: Sequence[int]) -> None:
        """Write some networks to a file. The file is on the disk when this returns."""
        parts = zip(*(self._bits[number] for number in numbers), strict=True)
        arrays: dict[str, NDArray[Any]] = {
            name: np.stack(part) for name, part in zip(SPLITS, parts, strict=True)
        }
        if self._log_odds_key is not None:
            arrays |= {"log_odds_key": np.array(self._log_odds_key), "log_odds": self.log_odds(numbers)}
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, key=np.array(self._key),
                     numbers=np.asarray(numbers, dtype=np.int64), **arrays)  # fmt: skip

    def read(self, path: Path) -> list[int]:
        """Add the networks of a file, and return the numbers of the new ones.

        Raises:
            DamagedNetworks: if the file is damaged or holds other networks. Nothing is added.
        """
        content = io.BytesIO(path.read_bytes())  # a file that cannot be read need not be damaged
        try:
            with np.load(content, allow_pickle=False) as arrays:  # each array has a checksum
                key, numbers, *bits = (arrays[name] for name in ("key", "numbers", *SPLITS))
                if self._log_odds_key is None:
                    made, odds = None, None
                elif "log_odds" in arrays:
                    made, odds = str(arrays["log_odds_key"]), arrays["log_odds"]
                else:
                    made, odds = "", None
        except Exception as error:  # zipfile and NumPy raise many kinds for a damaged file
            raise DamagedNetworks(str(error)) from None
        shapes = [(len(numbers), -(-count // 8)) for count in self._samples.values()]
        if str(key) != self._key or [part.shape for part in bits] != shapes:
            raise OtherNetworks("it holds other networks")
        if made != self._log_odds_key or (
            odds is not None and (odds.shape, odds.dtype) != ((len(numbers), self._samples["train"]), "f4")
        ):
            raise OtherNetworks("it holds no log odds of these networks")
        found = dict(zip(numbers.tolist(), zip(*bits, strict=True), strict=True))
        new = sorted(found.keys() - self._bits.keys())
        self._bits |= {number: found[number] for number in new}
        if odds is not None:
            rows = dict(zip(numbers.tolist(), odds, strict=True))
            self._log_odds |= {number: rows[number] for number in new}
        return new
