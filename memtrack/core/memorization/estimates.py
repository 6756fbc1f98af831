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
    right = members.T.astype(np.float32) @ correct.astype(np.float32)  # exact: these are integers
    return _influence(right, correct.sum(axis=0), members.sum(axis=0)[:, None], len(members))


def _influence(
    right: NDArray[Any], total: NDArray[Any], trained: NDArray[Any], networks: int
) -> tuple[Values, Values]:
    """The influence and its standard error, from how many networks predict the test sample correctly: of
    those trained on the training sample, and of all. The shapes are broadcast."""
    shares, errors = [], []
    for correct, count in ((right, trained), (total - right, networks - trained)):
        shares.append(_shares(correct, count))
        adjusted = (correct + 1) / (count + 2)
        errors.append(adjusted * (1 - adjusted) / (count + 2))
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
BLOCK = 2048
"""The number of training samples, and of test samples, whose pairs are in memory at once."""


def influential_pairs(rows: NDArray[np.int64], members: Flags, correct: Flags, most: int) -> InfluentialPairs:
    """The influential pairs of some training samples, `rows` (M,), and all test samples. It lists the `most`
    largest ones. `members` and `correct` are as in `influence`.

    A test sample is left out if nearly all networks predict it correctly, or nearly none, so that no training
    sample can have an influence above 0.15 on it. For the others a matrix product counts the networks, and
    the influence is computed of those pairs only whose count is large enough.
    """
    networks, tests = correct.shape
    trained, total = members.sum(axis=0), correct.sum(axis=0)
    chosen = np.flatnonzero(_can_be_influenced(trained, networks)[total])
    count, sure = np.zeros((2, tests), dtype=np.int64)
    listed = np.empty((4, 0))
    for start in range(0, len(chosen), BLOCK):
        some = chosen[start : start + BLOCK]
        seen = correct[:, some].astype(np.float32)
        for first in range(0, len(rows), BLOCK):
            part = slice(first, first + BLOCK)
            right = members[:, part].T.astype(np.float32) @ seen  # exact: these are integers
            share = (trained[part] / networks).astype(np.float32)[:, None]
            least = share * (INFLUENTIAL * (networks - trained[part, None]) + total[some]).astype(np.float32)
            train, test = np.nonzero(right > least - 0.25)  # the margin is far above the rounding
            values, errors = _influence(
                right[train, test].astype(np.float64), total[some[test]], trained[part][train], networks
            )
            above = values > INFLUENTIAL
            found = np.stack([first + train, some[test], values, errors])[:, above]
            count += np.bincount(some[test[above]], minlength=tests)
            sure += np.bincount(some[test[above & (values > SURE * errors)]], minlength=tests)
            if listed.shape[1] == most:
                found = found[:, found[2] >= listed[2, -1]]
            listed = np.concatenate([listed, found], axis=1)
            order = np.lexsort((listed[1], listed[0], -listed[2]))
            listed = listed[:, order[:most]]
    train, test = listed[:2].astype(np.int64)
    return InfluentialPairs(rows[train], test, listed[2], listed[3], count, sure)


def _can_be_influenced(trained: NDArray[np.int64], networks: int) -> Flags:
    """For each number of networks that predict a test sample correctly, 0 to K, whether the influence of a
    sample that so many networks were `trained` on, (M,), can be above 0.15."""
    counts, total = np.unique(trained)[:, None], np.arange(networks + 1)
    largest, _ = _influence(np.minimum(counts, total), total, counts, networks)
    return np.asarray((largest > INFLUENTIAL).any(axis=0))


def _shares(right: NDArray[Any], trained: NDArray[Any]) -> Values:
    found: Values = np.where(trained == 0, np.nan, right / np.maximum(trained, 1))
    return found
