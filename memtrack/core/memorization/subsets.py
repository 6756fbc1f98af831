"""Which samples each of many networks is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]


def subset(samples: int, model: int, *, share: float, seed: int) -> Flags:
    """Which of `samples` samples network number `model` is trained on, (N,): round(share samples) of them."""
    generator = np.random.Generator(np.random.PCG64([seed, model, 0]))
    chosen = np.zeros(samples, dtype=bool)
    chosen[generator.permutation(samples)[: round(share * samples)]] = True
    return chosen


def without_memorized(memorization: Values, threshold: float) -> Flags:
    """All samples except those with memorization (N,) above the threshold; NaN counts as below."""
    return ~(memorization > threshold)


@dataclass(frozen=True)
class UtilityNetwork:
    """A network that shows how useful some samples are, and the number that identifies it.

    Attributes:
        counter: the index among the networks with the same threshold and `random`, from 0.
        threshold: samples with memorization above it are left out; None means that no sample is.
        random: the same number of random samples is left out instead.
    """

    counter: int
    threshold: float | None = None
    random: bool = False

    @property
    def number(self) -> int:
        """The unique number of this network, used for its files and its random draws. Thresholds must differ
        by a thousandth or more."""
        kind = 0 if self.threshold is None else 1 + 2 * round(1000 * self.threshold) + self.random
        return kind * _COUNTERS + self.counter

    @classmethod
    def of(cls, number: int) -> UtilityNetwork:
        """The network with this number."""
        kind, counter = divmod(number, _COUNTERS)
        thousandths, random = divmod(kind - 1, 2)
        return cls(counter) if kind == 0 else cls(counter, thousandths / 1000, bool(random))


_COUNTERS = 10**6


def utility_members(memorization: Values, seed: int, number: int) -> Flags:
    """Which samples the `UtilityNetwork` with this number is trained on, (N,). Random samples are drawn from
    (seed, number)."""
    network = UtilityNetwork.of(number)
    if network.threshold is None:
        return np.ones(len(memorization), dtype=bool)
    kept = without_memorized(memorization, network.threshold)
    generator = np.random.Generator(np.random.PCG64([seed, number, 3]))
    return generator.permutation(kept) if network.random else kept
