"""How well a score finds the corrupted samples."""

from __future__ import annotations

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


def bootstrap_auroc(corrupted: Flags, values: Values, *, resamples: int, seed: int) -> Values:
    """The AUROC of `resamples` bootstrap samples, (resamples,).

    Corrupted and clean samples are drawn separately with replacement (a stratified bootstrap), so
    that every resample has both. The AUROC is taken from the counts of each distinct value:
    sum over values of positives x (negatives below + half of those equal).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    distinct, level = np.unique(values, return_inverse=True)
    levels = len(distinct)
    positive, negative = level[corrupted], level[~corrupted]
    results = np.empty(resamples)
    for index in range(resamples):
        drawn = generator.integers(0, len(positive), len(positive))
        positives = np.bincount(positive[drawn], minlength=levels)
        drawn = generator.integers(0, len(negative), len(negative))
        negatives = np.bincount(negative[drawn], minlength=levels)
        below = np.cumsum(negatives) - negatives
        results[index] = positives @ (below + negatives / 2)
    return results / (len(positive) * len(negative))


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
    draws = bootstrap_auroc(corrupted, values, resamples=resamples, seed=seed)
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
