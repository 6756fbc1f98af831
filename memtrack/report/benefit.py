"""The report of stage `benefit`: test accuracy by set of labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from memtrack.report import figures
from memtrack.report.metrics import BenefitMetrics
from memtrack.runs.benefit import CLEANED, GIVEN, RANDOM, TRUE

TABLE, PICTURE = "benefit.csv", "pictures/benefit.png"


def write(accuracies: pd.DataFrame, changed: int, confidence: float, folder: Path) -> BenefitMetrics:
    """Write the table and the picture to `folder`; returns the content of metrics.json.

    Args:
        accuracies: test accuracies, a row a seed and a column a set of labels. changed: how many samples
            cleaning changed or removed. confidence: the confidence level of the intervals.
    """
    accuracies.to_csv(folder / TABLE, index_label="seed")
    figures.accuracy_by_labels(accuracies, folder / PICTURE)
    gain, over = (_difference(accuracies, other, confidence) for other in (GIVEN, RANDOM))
    means = accuracies.mean()
    return BenefitMetrics(
        seeds=len(accuracies),
        changed=changed,
        given=means[GIVEN],
        cleaned=means[CLEANED],
        random=means[RANDOM],
        true=means.get(TRUE),
        gain=gain[0],
        gain_low=gain[1],
        gain_high=gain[2],
        over_random=over[0],
        over_random_low=over[1],
        over_random_high=over[2],
    )


def _difference(
    accuracies: pd.DataFrame, other: str, confidence: float
) -> tuple[float, float | None, float | None]:
    """The mean of cleaned minus `other`, and its interval by the paired t-test over seeds."""
    difference = accuracies[CLEANED] - accuracies[other]
    if len(difference) < 2:
        return float(difference.mean()), None, None
    if np.ptp(difference) == 0:  # no variance to estimate from
        return (float(difference.iloc[0]),) * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ttest_rel(accuracies[CLEANED], accuracies[other]).confidence_interval(confidence)
    return float(difference.mean()), float(found.low), float(found.high)
