"""How well a score finds the corrupted samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """How well one score finds the corrupted samples of one run.

    auroc: area under the ROC curve, the chance that a corrupted sample scores above a clean one.
    auroc_low, auroc_high: its bootstrap interval. average_precision: area under precision-recall.
    precision_at_count: share of corrupted samples among the K highest scores, K = number corrupted.
    """

    auroc: float
    auroc_low: float
    auroc_high: float
    average_precision: float
    precision_at_count: float


def auroc(corrupted: Flags, values: Values) -> float:
    """Area under the ROC curve; ties count one half (scikit-learn)."""
    return float(roc_auc_score(corrupted, values))


def bootstrap_aurocs(
    corrupted: Flags, scores: Sequence[Values], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """The AUROC of each score on the same `resamples` bootstrap samples, (len(scores), resamples).

    Corrupted and clean samples are drawn separately with replacement (a stratified bootstrap), so
    that every resample has both. The AUROC is taken from the counts of each distinct value:
    sum over values of positives x (negatives below + half of those equal).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    levels = [np.unique(values, return_inverse=True)[1] for values in scores]
    positive, negative = np.flatnonzero(corrupted), np.flatnonzero(~corrupted)
    results = np.empty((len(scores), resamples))
    for index in range(resamples):
        chosen = positive[generator.integers(0, len(positive), len(positive))]
        others = negative[generator.integers(0, len(negative), len(negative))]
        for row, level in enumerate(levels):
            positives = np.bincount(level[chosen], minlength=level.max() + 1)
            negatives = np.bincount(level[others], minlength=level.max() + 1)
            below = np.cumsum(negatives) - negatives
            results[row, index] = positives @ (below + negatives / 2)
    return results / (len(positive) * len(negative))


@dataclass(frozen=True)
class Difference:
    """The AUROC of two scores on the same samples, and first minus second with its bootstrap interval."""

    first: float
    second: float
    difference: float
    low: float
    high: float


def paired_difference(
    corrupted: Flags, first: Values, second: Values, *, resamples: int, confidence: float, seed: int
) -> Difference:
    """Compare two scores (N,) on the same samples: each resample is drawn for both."""
    ours, theirs = bootstrap_aurocs(corrupted, [first, second], resamples=resamples, seed=seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ours - theirs, [tail, 1 - tail])
    one, other = auroc(corrupted, first), auroc(corrupted, second)
    return Difference(one, other, one - other, float(low), float(high))


def clean_needed(corrupted: Flags, values: Values, standard_error: float) -> int:
    """How many clean samples, drawn at random beside all corrupted ones, give the AUROC of all.

    That AUROC is the mean over the clean samples of the share of corrupted ones above each; the mean of
    k of M drawn without replacement has the standard error sqrt(V (1/k - 1/M)), V their variance.

    Args:
        values: a score of the samples, to take V from.
        standard_error: that is wanted, above 0.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988 (V is their S01).
    """
    above = np.sort(values[corrupted])
    clean = values[~corrupted]
    below_or_equal = np.searchsorted(above, clean, "left") + np.searchsorted(above, clean, "right")
    variance = float(np.var(1 - below_or_equal / (2 * len(above)), ddof=1))
    return math.ceil(variance / (standard_error**2 + variance / len(clean))) if variance else 1


def detection(corrupted: Flags, values: Values, *, resamples: int, confidence: float, seed: int) -> Detection:
    """Judge the scores `values` (N,) by the flags `corrupted` (N,).

    Args:
        corrupted: which samples carry a wrong label; some must, and some must not.
        values: larger = more suspect.
        resamples, confidence, seed: of the percentile bootstrap interval of the AUROC.

    Raises:
        ValueError: if all samples are corrupted, or none.
    """
    count = int(corrupted.sum())
    if not 0 < count < len(corrupted):
        raise ValueError(f"{count} of {len(corrupted)} samples are corrupted: AUROC wants both kinds")
    (draws,) = bootstrap_aurocs(corrupted, [values], resamples=resamples, seed=seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    top = np.argsort(-values, kind="stable")[:count]
    return Detection(
        auroc=auroc(corrupted, values),
        auroc_low=float(low),
        auroc_high=float(high),
        average_precision=float(average_precision_score(corrupted, values)),
        precision_at_count=float(corrupted[top].mean()),
    )


def roc_points(corrupted: Flags, values: Values) -> tuple[Values, Values]:
    """False and true positive rates at the corners of the ROC curve (scikit-learn)."""
    false_positive, true_positive, _ = roc_curve(corrupted, values)
    return false_positive, true_positive
