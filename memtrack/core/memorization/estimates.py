"""Memorization and influence by subsampling: how much correct predictions depend on training on a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
MEMORIZED, INFLUENTIAL = 0.25, 0.15
"""The thresholds of Feldman & Zhang, 2020, section 3."""


class Counts:
    """How often each sample was predicted correctly by the networks trained on it, and by the others.

    The counts are sums of integers, so the order and grouping in which networks are added change nothing.
    """

    def __init__(self, samples: int) -> None:
        self.networks = 0
        self.trained = np.zeros((2, samples), dtype=np.int64)
        self.right = np.zeros((2, samples), dtype=np.int64)

    def add(self, members: Flags, correct: Flags) -> None:
        """Add K networks: which samples each was trained on and which it predicts correctly, both (K, N)."""
        self.networks += len(members)
        for row, flags in enumerate((members, ~members)):
            self.trained[row] += flags.sum(axis=0)
            self.right[row] += (flags & correct).sum(axis=0)

    @property
    def memorization(self) -> Values:
        """mem_m (N,): P[correct | trained on it] - P[correct | not], NaN where one of the two has no network.

        Source: Feldman & Zhang, NeurIPS 2020, equation 4.
        """
        inside, outside = _shares(self.right, self.trained)
        return inside - outside

    @property
    def out_of_sample(self) -> Values:
        """The share of the networks not trained on a sample that predict it correctly, (N,)."""
        return _shares(self.right, self.trained)[1]

    @property
    def standard_error(self) -> Values:
        """The standard error of the memorization (N,): sqrt(p (1 - p) / n + q (1 - q) / m). A success and a
        failure are added to each of the two shares, so that it is not zero where all networks agree.

        Source: Agresti & Caffo, The American Statistician 2000.
        """
        trained = self.trained + 2
        shares = (self.right + 1) / trained
        return np.sqrt((shares * (1 - shares) / trained).sum(axis=0))


def influence(members: Flags, correct: Flags) -> tuple[Values, Values]:
    """The influence infl_m of some training samples on test samples, and its standard error, both (M, T).

    Args:
        members: which of the training samples each network was trained on, (K, M).
        correct: which test samples each network predicts correctly, (K, T).

    Source: Feldman & Zhang, NeurIPS 2020, section 2.3. The standard error is computed as in `Counts`.
    """
    shares, errors = [], []
    for flags in (members, ~members):
        trained = flags.sum(axis=0)[:, None]
        right = flags.T.astype(np.float32) @ correct.astype(np.float32)  # exact: these are integers
        shares.append(_shares(right, np.broadcast_to(trained, right.shape)))
        adjusted = (right + 1) / (trained + 2)
        errors.append(adjusted * (1 - adjusted) / (trained + 2))
    return shares[0] - shares[1], np.sqrt(errors[0] + errors[1])


@dataclass(frozen=True)
class InfluentialPairs:
    """The pairs of a training sample and a test sample whose influence is above 0.15.

    Attributes:
        train, test: rows of the samples of the pairs with the largest influence, (P,) each, largest first.
        influence, standard_error: the influence of these pairs and its standard error, (P,) each.
        count: the number of pairs that each test sample is in, (T,).
        sure: how many of these have an influence of more than `SURE` standard errors, (T,).
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    influence: Values
    standard_error: Values
    count: NDArray[np.int64]
    sure: NDArray[np.int64]


SURE = 4
"""An influence is sure if it is above this many standard errors. Of a million pairs without influence, 140
are sure with 8 networks, whose counts are far from normal, 15 with 50 and 3 with 200 (measured on digits)."""
ELEMENTS = 2**23
"""The number of pairs whose influence is in memory at once."""


def influential_pairs(rows: NDArray[np.int64], members: Flags, correct: Flags, most: int) -> InfluentialPairs:
    """The influential pairs of some training samples, `rows` (M,), and all test samples. It lists the `most`
    largest ones. `members` and `correct` are as in `influence`.
    """
    tests = correct.shape[1]
    count, sure = np.zeros((2, tests), dtype=np.int64)
    listed = np.empty((0, 4))
    step = max(1, ELEMENTS // max(1, tests))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        values, errors = influence(members[:, part], correct)
        above = values > INFLUENTIAL
        count += above.sum(axis=0)
        sure += (above & (values > SURE * errors)).sum(axis=0)
        train, test = np.nonzero(above)
        found = np.column_stack([rows[part][train], test, values[above], errors[above]])
        listed = np.concatenate([listed, found])
        listed = listed[np.argsort(-listed[:, 2], kind="stable")[:most]]
    train, test = listed[:, :2].astype(np.int64).T
    return InfluentialPairs(train, test, listed[:, 2], listed[:, 3], count, sure)


def _shares(right: NDArray[Any], trained: NDArray[Any]) -> Values:
    found: Values = np.where(trained == 0, np.nan, right / np.maximum(trained, 1))
    return found
