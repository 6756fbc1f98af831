"""How well a score finds the corrupted samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from memtrack.core.evaluation.bootstrap import Resampling, Values, draws, intervals

FEW = 20
"""With fewer corrupted samples, an AUROC means little and its bootstrap interval is too narrow."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Detection:
    """How well one score finds the corrupted samples of one run.

    auroc: area under the ROC curve, the probability that a corrupted sample scores above a clean one.
    auroc_low, auroc_high: its bootstrap interval. average_precision: area under precision-recall.
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


def _bootstrap_aurocs(corrupted: Flags, scores: Sequence[Values], how: Resampling) -> Values:
    """The AUROC of each score on the same bootstrap samples, (resamples, len(scores)).

    Corrupted and clean samples are drawn separately (a stratified bootstrap), so every bootstrap sample has
    both. The AUROC is computed from the counts of each distinct value: the sum over values of
    positives x (negatives below + half of the equal negatives), divided by the number of pairs.
    """
    levels = [np.unique(values, return_inverse=True)[1] for values in scores]
    pairs = int(corrupted.sum()) * int((~corrupted).sum())

    def aurocs(weights: Values) -> Values:
        found = []
        for level in levels:
            positives = np.bincount(level, weights * corrupted)
            negatives = np.bincount(level, weights * ~corrupted)
            below = np.cumsum(negatives) - negatives
            found.append(positives @ (below + negatives / 2) / pairs)
        return np.array(found)

    return draws(aurocs, [np.flatnonzero(corrupted), np.flatnonzero(~corrupted)], how)


@dataclass(frozen=True)
class Difference:
    """The AUROCs of two scores on the same samples, and first minus second with its bootstrap interval."""

    first: float
    second: float
    difference: float
    low: float
    high: float


def paired_difference(corrupted: Flags, first: Values, second: Values, how: Resampling) -> Difference:
    """Compare two scores (N,) on the same samples; see `compare`."""
    one_drawn, other_drawn = _bootstrap_aurocs(corrupted, [first, second], how).T
    one, other = auroc(corrupted, first), auroc(corrupted, second)
    return _difference(one, other, one_drawn, other_drawn, how.confidence)


def _difference(
    one: float, other: float, one_drawn: Values, other_drawn: Values, confidence: float
) -> Difference:
    """The difference of two AUROCs, with the interval from their draws (resamples,)."""
    [found] = intervals(np.array([one - other]), (one_drawn - other_drawn)[:, None], confidence)
    return Difference(one, other, found.value, found.low, found.high)


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
    positive, negative = values[corrupted], values[~corrupted]
    v, w = _variance_of_share_below(positive, negative), _variance_of_share_below(negative, positive)
    all_m, all_k = len(positive), len(negative)
    aim = standard_error**2
    roots = math.sqrt(v) + math.sqrt(w)
    whole = aim + v / all_m + w / all_k
    m, k = math.sqrt(v) * roots / whole, math.sqrt(w) * roots / whole
    if m > all_m:
        m, k = all_m, w / (aim + w / all_k)
    elif k > all_k:
        m, k = v / (aim + v / all_m), all_k
    return max(1, math.ceil(m)), max(1, math.ceil(k))


def _variance_of_share_below(values: Values, others: Values) -> float:
    """The variance over `values` of the share of `others` below each value; equal ones count one half."""
    if len(values) == 1:
        return 0.0
    others = np.sort(others)
    twice = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return float(np.var(twice / (2 * len(others)), ddof=1))


def detection(corrupted: Flags, values: Values, how: Resampling) -> Detection:
    """Evaluate the scores `values` (N,) by the flags `corrupted` (N,); see `compare`."""
    results, _ = compare(corrupted, {"": values}, how)
    return results[""]


def compare(
    corrupted: Flags, scores: Mapping[str, Values], how: Resampling
) -> tuple[dict[str, Detection], dict[tuple[str, str], Difference]]:
    """Evaluate scores by the flags `corrupted` (N,), each score alone and each pair of scores.

    Args:
        corrupted: which samples have a wrong label; at least one must, and at least one must not.
        scores: for each name the values (N,), larger = more suspect.
        how: settings of the bootstrap of the AUROC. All scores are evaluated on the same resamples, so the
            differences are paired.

    Returns:
        the result of each name, and the difference of each pair of names, the better one first.

    Raises:
        ValueError: if all samples are corrupted, or none.
    """
    count = int(corrupted.sum())
    if not 0 < count < len(corrupted):
        raise ValueError(f"{count} of {len(corrupted)} samples are corrupted: AUROC needs both kinds")
    found = np.array([auroc(corrupted, values) for values in scores.values()])
    drawn = _bootstrap_aurocs(corrupted, list(scores.values()), how)
    results = {}
    for (name, values), area in zip(scores.items(), intervals(found, drawn, how.confidence), strict=True):
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
    order = sorted(range(len(names)), key=lambda row: -found[row])
    differences = {
        (names[one], names[other]): _difference(
            found[one].item(), found[other].item(), drawn[:, one], drawn[:, other], how.confidence
        )
        for one, other in combinations(order, 2)
    }
    return results, differences


def auroc_by_class(corrupted: Flags, values: Values, labels: NDArray[np.int64], *, classes: int) -> Values:
    """The AUROC among the samples of each given label, (C,); NaN where all are corrupted, or none."""
    found = np.full(classes, np.nan)
    for number in range(classes):
        members = labels == number
        if len(set(corrupted[members].tolist())) == 2:
            found[number] = auroc(corrupted[members], values[members])
    return found


def roc_points(corrupted: Flags, values: Values) -> tuple[Values, Values]:
    """False and true positive rates at the corners of the ROC curve (scikit-learn)."""
    false_positive, true_positive, _ = roc_curve(corrupted, values)
    return false_positive, true_positive
