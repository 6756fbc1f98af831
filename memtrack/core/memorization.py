"""Memorization and influence by subsampling: how much a sample's label hangs on its being trained on."""

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
    """How often each sample was right among the networks that were trained on it, and among the others.

    Sums of whole numbers: the order in which networks are added, and their grouping, change nothing.
    """

    def __init__(self, samples: int) -> None:
        self.trained = np.zeros((2, samples), dtype=np.int64)
        self.right = np.zeros((2, samples), dtype=np.int64)

    def add(self, members: Flags, correct: Flags) -> None:
        """Add K networks: which samples each was trained on, and which it gets right, both (K, N)."""
        for row, flags in enumerate((members, ~members)):
            self.trained[row] += flags.sum(axis=0)
            self.right[row] += (flags & correct).sum(axis=0)

    @property
    def memorization(self) -> Values:
        """mem_m (N,): P[right | trained on it] - P[right | not], NaN where one of the two has no network.

        Source: Feldman & Zhang, NeurIPS 2020, equation 4.
        """
        inside, outside = _shares(self.right, self.trained)
        return inside - outside

    @property
    def out_of_sample(self) -> Values:
        """The share of networks not trained on a sample that get it right, (N,)."""
        return _shares(self.right, self.trained)[1]

    @property
    def standard_error(self) -> Values:
        """Of the memorization (N,): sqrt(p (1 - p) / n + q (1 - q) / m) with a success and a failure added
        to each, so that it is not zero where all networks agree.

        Source: Agresti & Caffo, The American Statistician 2000.
        """
        trained = self.trained + 2
        shares = (self.right + 1) / trained
        return np.sqrt((shares * (1 - shares) / trained).sum(axis=0))


def influence(members: Flags, correct: Flags) -> tuple[Values, Values]:
    """infl_m of some training samples on test samples, and its standard error, both (N, T).

    Args:
        members: which training samples each network was trained on, (K, N).
        correct: which test samples each gets right, (K, T).

    Source: Feldman & Zhang, NeurIPS 2020, section 2.3; the standard error as in `Counts`.
    """
    shares, errors = [], []
    for flags in (members, ~members):
        trained = flags.sum(axis=0)[:, None]
        right = flags.T.astype(np.float64) @ correct.astype(np.float64)
        shares.append(_shares(right, np.broadcast_to(trained, right.shape)))
        adjusted = (right + 1) / (trained + 2)
        errors.append(adjusted * (1 - adjusted) / (trained + 2))
    return shares[0] - shares[1], np.sqrt(errors[0] + errors[1])


@dataclass(frozen=True)
class Agreement:
    """How far a score agrees with memorization.

    pearson, spearman: correlations. cosine: of the two, the score's least value taken as 0.
    top_overlap: share of the K samples of highest score among the K of highest memorization, where K samples
    have a memorization above 0.25. precision: share of the former whose memorization is above 0.25.
    """

    pearson: float
    spearman: float
    cosine: float
    top_overlap: float
    precision: float


def agreement(scores: Values, memorization: Values) -> Agreement:
    """Compare a score (N,), larger = more memorized, with memorization (N,) without NaN."""
    count = max(1, int((memorization > MEMORIZED).sum()))
    top = np.argsort(-scores, kind="stable")[:count]
    most = np.argsort(-memorization, kind="stable")[:count]
    raised = scores - scores.min()
    norms = np.linalg.norm(raised) * np.linalg.norm(memorization)
    return Agreement(
        pearson=_correlation(scores, memorization),
        spearman=_correlation(_places(scores), _places(memorization)),
        cosine=float(raised @ memorization / norms) if norms else float("nan"),
        top_overlap=len(np.intersect1d(top, most)) / count,
        precision=float((memorization[top] > MEMORIZED).mean()),
    )


def _correlation(one: Values, other: Values) -> float:
    one, other = one - one.mean(), other - other.mean()
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / norms) if norms else float("nan")


def _places(values: Values) -> Values:
    """The place of each value from the smallest, equal ones sharing the mean of theirs."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    places: Values = (np.cumsum(counts) - (counts - 1) / 2)[level]
    return places


def _shares(right: NDArray[Any], trained: NDArray[Any]) -> Values:
    found: Values = np.where(trained == 0, np.nan, right / np.maximum(trained, 1))
    return found
