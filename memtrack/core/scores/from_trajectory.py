"""Scores computed from the numbers that are recorded in every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores.registry import Values, score


@score(title="curvature, epoch mean")
def curvature(trajectory: EpochArrays) -> Values:
    """The memorization score of the paper: the mean of curvature_t over the recorded epochs t.

    Source: Garg, Ravikumar & Roy, ICML 2024.
    """
    return trajectory.mean("curvature")


@score(title="curvature, last epoch")
def curvature_last(trajectory: EpochArrays) -> Values:
    """The curvature at the last recorded epoch alone.

    Source: Garg, Ravikumar & Roy, ICML 2024. Their comparison shows why the mean over epochs matters.
    """
    return trajectory.last("curvature").astype(np.float64)


@score(title="curvature, mean of logs")
def curvature_log(trajectory: EpochArrays) -> Values:
    """The mean over epochs of the log of the curvature. Epochs of large curvature do not outweigh the others.

    A curvature of zero (the loss is flat in float32) counts as the smallest positive curvature of the epoch.
    """
    total = np.zeros(())
    for values in trajectory.each("curvature"):
        least = values.min(where=values > 0, initial=values.max() or 1.0)
        total = total + np.log(np.maximum(values, least))
    return total / len(trajectory.epochs)


@score(title="curvature, mean of ranks")
def curvature_ranks(trajectory: EpochArrays) -> Values:
    """The mean over epochs of the sample's rank in the epoch, where 1 is the smallest curvature.

    Equal values share the mean of their ranks.
    """
    return mean_ranks(trajectory.each("curvature"))


@score(title="curvature, weighted ranks")
def curvature_weighted(trajectory: EpochArrays) -> Values:
    """The mean of the ranks as in `curvature_ranks`, each epoch weighted by the root of its mean loss.

    Once a network has fitted all labels, the curvature tells wrong labels from right ones much less well
    than before. In such epochs the mean loss is near zero, so they hardly count. If it is zero in all
    epochs, they count alike.
    """
    total, weights = np.zeros(()), 0.0
    for values, loss in zip(trajectory.each("curvature"), trajectory.each("loss"), strict=True):
        weight = math.sqrt(math.fsum(loss) / len(loss))
        total, weights = total + weight * _ranks(values), weights + weight
    return total / weights if weights else curvature_ranks(trajectory)


def mean_ranks(several: Iterable[NDArray[np.generic]]) -> Values:
    """The mean of the ranks of a sample in several arrays (N,), 1 for the smallest value; (N,)."""
    total, count = np.zeros(()), 0
    for values in several:
        total, count = total + _ranks(values), count + 1
    return total / count


def _ranks(values: NDArray[np.generic]) -> Values:
    """The rank of each value (N,), 1 for the smallest. Equal values share the mean of their ranks."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(counts) - (counts - 1) / 2)[level]
    return ranks


@score(title="cumulative loss (CSL)")
def csl(trajectory: EpochArrays) -> Values:
    """CSL, cumulative sample loss: the mean over epochs of the loss of the given label.

    Source: Ravikumar et al., ICML 2025 (they take the sum, which gives the same ranking).
    """
    return trajectory.mean("loss")


@score(title="mean margin (AUM)")
def aum(trajectory: EpochArrays) -> Values:
    """Minus AUM, the mean over epochs of f_y - max_{c != y} f_c, so that larger is more suspect.

    Source: Pleiss et al., NeurIPS 2020, equation 1.
    """
    return -trajectory.mean("margin")


@score(title="input-gradient norm")
def input_gradient_norm(trajectory: EpochArrays) -> Values:
    """Loss sensitivity: the mean over epochs of the Euclidean norm of the input gradient.

    Source: Arpit et al., ICML 2017, section 4 (they take the L1 norm).
    """
    return trajectory.mean("input_gradient_norm")


@score()
def inconfidence(trajectory: EpochArrays) -> Values:
    """1 - p_y at the last recorded epoch.

    Source: Carlini, Erlingsson & Papernot, 2019. Their confidence is that of the predicted class, averaged
    over an ensemble.
    """
    return 1 - trajectory.last("probability").astype(np.float64)


@score()
def confidence(trajectory: EpochArrays) -> Values:
    """Minus the confidence of data maps, the mean over epochs of p_y, so that larger is more suspect.

    Source: Swayamdipta et al., EMNLP 2020, section 2.
    """
    return -trajectory.mean("probability")


@score()
def variability(trajectory: EpochArrays) -> Values:
    """Variability of data maps: the standard deviation over epochs of p_y (with divisor T).

    Source: Swayamdipta et al., EMNLP 2020, section 2.
    """
    mean, total = trajectory.mean("probability"), np.zeros(())
    for values in trajectory.each("probability"):
        total = total + (values - mean) ** 2
    return np.sqrt(total / len(trajectory.epochs))


@score(title="EL2N")
def el2n(trajectory: EpochArrays) -> Values:
    """EL2N: the mean over epochs of ||p - onehot(y)||.

    Source: Paul et al., NeurIPS 2021, definition 2.2 (they take one early epoch, averaged over seeds).
    """
    return trajectory.mean("error_norm")


@score()
def forgetting_events(trajectory: EpochArrays) -> Values:
    """How often a sample is predicted correctly in one recorded epoch and wrongly in the next. T if it is
    never predicted correctly.

    Source: Toneva et al., ICLR 2019, section 3 (they compare a sample's successive minibatches, and count
    samples that are never learned as infinite).
    """
    before, forgotten, learned = None, np.zeros(()), np.zeros((), dtype=bool)
    for values in trajectory.each("correct"):
        right = values > 0
        if before is not None:
            forgotten = forgotten + (before & ~right)
        before, learned = right, learned | right
    return np.where(learned, forgotten, len(trajectory.epochs))


@score()
def learning_time(trajectory: EpochArrays) -> Values:
    """The first recorded epoch from which the prediction stays correct, counted from 1; T + 1 if none is.

    Source: Jiang et al., ICML 2021 (learning speed); Arpit et al., ICML 2017.
    """
    last_wrong = np.zeros(())
    for number, values in enumerate(trajectory.each("correct"), start=1):
        last_wrong = np.where(values > 0, last_wrong, number)
    return last_wrong + 1


@score()
def first_learned(trajectory: EpochArrays) -> Values:
    """The first recorded epoch at which p_y is above 1/2, counted from 1; T + 1 if none is.

    Source: the threshold form of learning time in Ravikumar et al., ICML 2025, Table 2.
    """
    count = len(trajectory.epochs)
    found = np.full((), count + 1.0)
    for number, values in enumerate(trajectory.each("probability"), start=1):
        found = np.where((values > 0.5) & (found > count), number, found)
    return found
