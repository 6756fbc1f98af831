"""The report of stage `utility`: test accuracy without the memorized samples, and without random ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from memtrack.core.memorization.subsets import Flags, without_memorized
from memtrack.report import figures
from memtrack.report.memorization_metrics import UtilityMetrics

TESTS = ("all", "influenced", "others")
"""The groups of test samples: all; those in a sure pair (`sure_pairs` in test.csv); the others."""


@dataclass(frozen=True)
class UtilityReport:
    """The networks of all thresholds.

    Attributes:
        right: for each threshold, which test samples the networks without the samples above it (False), or
            without as many random ones (True), predict correctly, (K, T).
        whole: the same for the networks that are trained on all samples.
        memorization: of the training samples, (N,). influenced: which test samples are in a sure pair, (T,).
        confidence: the confidence level of the intervals.
    """

    right: Mapping[tuple[float, bool], Flags]
    whole: Flags
    memorization: NDArray[np.float64]
    influenced: Flags
    confidence: float

    @cached_property
    def table(self) -> pd.DataFrame:
        """utility.csv: a row for each threshold and group of test samples. It holds the mean accuracy of the
        networks without the samples above the threshold, and without as many random ones, each with its
        standard deviation, and the difference, random minus memorized, with its interval (Welch's t over
        networks)."""
        influenced = self.influenced
        parts = dict(zip(TESTS, (np.ones_like(influenced), influenced, ~influenced), strict=True))
        rows = []
        for threshold in dict.fromkeys(threshold for threshold, _ in self.right):
            for tests, chosen in parts.items():
                if not chosen.any():
                    continue
                one, other = (
                    self.right[threshold, random][:, chosen].mean(axis=1) for random in (True, False)
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # raised if all networks agree
                    found = ttest_ind(one, other, equal_var=False)
                    low, high = found.confidence_interval(self.confidence)
                rows.append(
                    {
                        "threshold": threshold,
                        "left_out": int((~without_memorized(self.memorization, threshold)).sum()),
                        "tests": tests,
                        "without_memorized": other.mean(),
                        "without_memorized_sd": other.std(ddof=1),
                        "without_random": one.mean(),
                        "without_random_sd": one.std(ddof=1),
                        "difference": one.mean() - other.mean(),
                        "low": low,
                        "high": high,
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def metrics(self) -> UtilityMetrics:
        """The content of metrics.json."""
        everywhere = self.table[self.table["tests"] == "all"].to_dict("records")
        largest = max(everywhere, key=lambda row: float(row["difference"]))
        low, high = (float(largest[end]) for end in ("low", "high"))
        return UtilityMetrics(
            models=len(self.whole),
            test_accuracy=float(self.whole.mean()),
            threshold=float(largest["threshold"]),
            left_out=int(largest["left_out"]),
            largest_difference=float(largest["difference"]),
            low=None if np.isnan(low) else low,
            high=None if np.isnan(high) else high,
            influenced_tests=int(self.influenced.sum()),
        )

    def write(self, folder: Path) -> None:
        """Write the table and the picture to `folder`."""
        self.table.to_csv(folder / "utility.csv", index=False)
        figures.utility_curves(self.table, float(self.whole.mean()), folder / "pictures" / "utility.png")
