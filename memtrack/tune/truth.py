"""What scores are compared with: known corruption, or memorization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.agreement import agreements, correlation
from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.core.evaluation.detection import Difference, auroc, paired_difference
from memtrack.core.memorization.estimates import MEMORIZED

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Truth(Protocol):
    """What the scores of some samples are compared with.

    Attributes:
        key, title: the name of the number that rates a score, in files and for people.
        flags: the samples to find, (N,).
    """

    key: str
    title: str

    @property
    def flags(self) -> Flags: ...

    def of(self, rows: NDArray[np.int64]) -> Truth:
        """The truth about some of the samples."""
        ...

    def value(self, scores: Values) -> float:
        """The number that rates the scores (N,); larger is better."""
        ...

    def difference(self, first: Values, second: Values, how: Resampling) -> Difference:
        """Compare two scores on the same samples, with the paired interval of the difference."""
        ...


@dataclass(frozen=True)
class Corruption:
    """Which samples carry a wrong label, (N,); scores are judged by AUROC."""

    flags: Flags
    key = "auroc"
    title = "AUROC"

    def of(self, rows: NDArray[np.int64]) -> Corruption:
        """The truth about some of the samples."""
        return Corruption(self.flags[rows])

    def value(self, scores: Values) -> float:
        """The AUROC."""
        return auroc(self.flags, scores)

    def difference(self, first: Values, second: Values, how: Resampling) -> Difference:
        """The difference of the AUROC."""
        return paired_difference(self.flags, first, second, how.confidence)


@dataclass(frozen=True)
class Memorization:
    """The memorization of the samples, (N,); scores are judged by their correlation with it (Pearson)."""

    values: Values
    key = "memorization"
    title = "correlation"

    @property
    def flags(self) -> Flags:
        """The samples above the threshold of Feldman & Zhang."""
        return self.values > MEMORIZED

    def of(self, rows: NDArray[np.int64]) -> Memorization:
        """The truth about some of the samples."""
        return Memorization(self.values[rows])

    def value(self, scores: Values) -> float:
        """Pearson's correlation; 0 if all scores are the same."""
        return float(np.nan_to_num(correlation(scores, self.values)))

    def difference(self, first: Values, second: Values, how: Resampling) -> Difference:
        """The difference of the correlation. If a score is constant: interval from -1 to 1, correlation 0."""
        judged, differences = agreements({"first": first, "second": second}, self.values, how)
        [((better, _), found)] = differences.items()
        gap, sign = found["pearson"], 1 if better == "first" else -1
        low, high = sorted((sign * gap.low, sign * gap.high))
        if np.isnan(gap.value):
            low, high = -1.0, 1.0
        one, other = (float(np.nan_to_num(judged[name]["pearson"].value)) for name in ("first", "second"))
        return Difference(one, other, one - other, low, high)
