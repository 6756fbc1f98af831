"""How well a score finds the corrupted samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from memtrack.core.evaluation.intervals import Estimates, Values

FEW = 20
"""With fewer corrupted samples, an AUROC means little and its interval is too narrow."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Detection:
    """How well one score finds the corrupted samples of one run.

    auroc: area under the ROC curve, the probability that a corrupted sample scores above a clean one.
    auroc_low, auroc_high: its interval by DeLong's variance. average_precision: area under precision-recall.
    precision_at_count: share of corrupted samples among the K highest scores, K = number corrupted.
    precision_first_P: share of corrupted samples among the P percent of samples with the highest scores.
    recall_first_P: share of all corrupted samples that are among these.
    """

    auroc: float
    auroc_low: float
    auroc_high: float
    average_precision: float
    precision_at_count: float
    precision_first_1: float
    recall_first_1: float
    precision_first_5: float
    recall_first_5: float
    precision_first_10: float
    recall_first_10: float


def auroc(corrupted: Flags, values: Values) -> float:
    """Area under the ROC curve; ties count one half (scikit-learn)."""
    return float(roc_auc_score(corrupted, values))


def aurocs(corrupted: Flags, scores: Sequence[Values]) -> Estimates:
    """The AUROC of each score, with the covariance of all of them.

    The placement of a corrupted sample is the share of clean samples that score below it, and that of a clean
    sample the share of corrupted ones that score above it; equal ones count one half. The covariance is
    S10 / m + S01 / k, where S10 and S01 are the covariance matrices of the scores' placements over the m
    corrupted and the k clean samples. It takes one sorting of the samples for each score.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988, equation 5; the placements from ranks as in
    Sun & Xu, IEEE Signal Processing Letters 2014.
    """
    m = int(corrupted.sum())
    placements = np.empty((len(scores), len(corrupted)))
    for row, values in zip(placements, scores, strict=True):
        row[:m], row[m:] = _placements(corrupted, values)
    covariance = sum(
        np.cov(part, ddof=min(1, part.shape[1] - 1)).reshape(len(scores), -1) / part.shape[1]
        for part in (placements[:, :m], placements[:, m:])
    )
    return Estimates(placements[:, :m].mean(axis=1), covariance, (0.0, 1.0))


def _placements(corrupted: Flags, values: Values) -> tuple[Values, Values]:
    """The share of clean samples below each corrupted one, and of corrupted ones above each clean one."""
    level = np.unique(values, return_inverse=True)[1]
    found = []
    for own, others in ((corrupted, ~corrupted), (~corrupted, corrupted)):
        counts = np.bincount(level[others], minlength=level.max() + 1)
        below = (np.cumsum(counts) - counts / 2) / counts.sum()
        found.append(below[level[own]])
    return found[0], 1 - found[1]


@dataclass(frozen=True)
class Difference:
    """The AUROCs of two scores on the same samples, and first minus second with its paired interval."""

    first: float
    second: float
    difference: float
    low: float
    high: float


def paired_difference(corrupted: Flags, first: Values, second: Values, confidence: float) -> Difference:
    """Compare two scores (N,) on the same samples; see `compare`."""
    [found] = _differences(aurocs(corrupted, [first, second]), [(0, 1)], confidence)
    return found


def _differences(areas: Estimates, pairs: list[tuple[int, int]], confidence: float) -> list[Difference]:
    values = areas.values.tolist()
    return [
        Difference(values[one], values[other], found.value, found.low, found.high)
        for (one, other), found in zip(pairs, areas.differences(pairs, confidence), strict=True)
    ]


def samples_needed(corrupted: Flags, values: Values, standard_error: float) -> tuple[int, int]:
    """How many random corrupted and clean samples estimate the AUROC of all with this standard error.

    With m of M corrupted and k of K clean samples, drawn without replacement, the squared standard error is
    V (1/m - 1/M) + W (1/k - 1/K). V is the variance over the corrupted samples of the share of clean samples
    below each; W is the same with the two kinds swapped. The total m + k is smallest for
    m : k = sqrt(V) : sqrt(W). If one kind has too few samples, all of them are used, and more of the other.

    Args:
        values: a score of the samples, from which V and W are computed.
        standard_error: the standard error that is wanted, above 0.

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988 (V and W are their S10 and S01); the sizes follow
    Neyman's allocation.
    """
    placements = _placements(corrupted, values)
    v, w = (float(np.var(part, ddof=min(1, len(part) - 1))) for part in placements)
    all_m, all_k = map(len, placements)
    aim = standard_error**2
    roots = math.sqrt(v) + math.sqrt(w)
    whole = aim + v / all_m + w / all_k
    m, k = math.sqrt(v) * roots / whole, math.sqrt(w) * roots / whole
    if m > all_m:
        m, k = all_m, w / (aim + w / all_k)
    elif k > all_k:
        m, k = v / (aim + v / all_m), all_k
    return max(1, math.ceil(m)), max(1, math.ceil(k))


def detection(corrupted: Flags, values: Values, confidence: float = 0.95) -> Detection:
    """Evaluate the scores `values` (N,) by the flags `corrupted` (N,); see `compare`."""
    results, _ = compare(corrupted, {"": values}, confidence)
    return results[""]


def compare(
    corrupted: Flags, scores: Mapping[str, Values], confidence: float
) -> tuple[dict[str, Detection], dict[tuple[str, str], Difference]]:
    """Evaluate scores by the flags `corrupted` (N,), each score alone and each pair of scores.

    Args:
        corrupted: which samples have a wrong label; at least one must, and at least one must not.
        scores: for each name the values (N,), larger = more suspect.
        confidence: level of the intervals, between 0 and 1. They follow from the covariance of the AUROCs
            (`aurocs`), so the differences are paired.

    Returns:
        the result of each name, and the difference of each pair of names, the better one first. The intervals
        do not account for the choice of the better one.

    Raises:
        ValueError: if all samples are corrupted, or none.
    """
    count = int(corrupted.sum())
    if not 0 < count < len(corrupted):
        raise ValueError(f"{count} of {len(corrupted)} samples are corrupted: AUROC needs both kinds")
    areas = aurocs(corrupted, list(scores.values()))
    results = {}
    for (name, values), area in zip(scores.items(), areas.intervals(confidence), strict=True):
        ordered = corrupted[np.argsort(-values, kind="stable")]
        first = [ordered[: max(1, round(len(ordered) * percent / 100))] for percent in (1, 5, 10)]
        results[name] = Detection(
            area.value,
            area.low,
            area.high,
            float(average_precision_score(corrupted, values)),
            float(ordered[:count].mean()),
            *(share for part in first for share in (float(part.mean()), float(part.sum() / count))),
        )
    names = list(scores)
    pairs = list(combinations(sorted(range(len(names)), key=lambda row: -areas.values[row]), 2))
    differences = _differences(areas, pairs, confidence)
    return results, {
        (names[one], names[other]): found for (one, other), found in zip(pairs, differences, strict=True)
    }


def auroc_by_class(corrupted: Flags, values: Values, labels: NDArray[np.int64], *, classes: int) -> Values:
    """The AUROC among the samples of each given label, (C,); NaN where all are corrupted, or none.

    The samples are sorted once for all labels."""
    order = np.lexsort((values, labels))
    label, value, wrong = labels[order], values[order], corrupted[order]
    begins = np.r_[True, (label[1:] != label[:-1]) | (value[1:] != value[:-1])]  # groups of equal values
    starts = np.flatnonzero(begins)
    middles = (starts + (np.diff(np.r_[starts, len(label)]) + 1) / 2)[np.cumsum(begins) - 1]
    ranks = middles - np.searchsorted(label, np.arange(classes))[label]  # within the label, from 1
    m, count = (np.bincount(part, minlength=classes) for part in (label[wrong], label))
    sums = np.bincount(label[wrong], ranks[wrong], minlength=classes)
    with np.errstate(invalid="ignore"):
        areas: Values = (sums - m * (m + 1) / 2) / (m * (count - m))
    return areas


def roc_points(corrupted: Flags, values: Values) -> tuple[Values, Values]:
    """False and true positive rates at the corners of the ROC curve (scikit-learn)."""
    false_positive, true_positive, _ = roc_curve(corrupted, values)
    return false_positive, true_positive


def found_after(corrupted: Flags, values: Values, looked_at: NDArray[np.int64]) -> Values:
    """How many corrupted samples are among the `looked_at` (K,) samples with the highest values, (K,).

    Samples of the same value are looked at in random order; the number is that expected.
    """
    levels, group = np.unique(-values, return_inverse=True)
    ends = np.cumsum(np.bincount(group, minlength=len(levels)))
    found = np.cumsum(np.bincount(group, weights=corrupted, minlength=len(levels)))
    return np.interp(looked_at, np.concatenate([[0], ends]), np.concatenate([[0], found]))
