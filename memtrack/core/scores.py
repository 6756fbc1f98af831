"""Scores: a trajectory in, one number per sample out, larger = more likely memorized or mislabelled.

To add one, write a function of `Records` under `@score` and a test. y is the given label, p the softmax
probabilities, f the logits, T the number of recorded epochs t; epochs that are not recorded are not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memtrack.core.trajectory import Records

Score = Callable[[Records], NDArray[np.float64]]

SCORES: dict[str, Score] = {}
"""All scores by name."""


def score(function: Score) -> Score:
    """Register a score under its function's name."""
    SCORES[function.__name__] = function
    return function


WINDOW = re.compile(r"(?P<name>\w+)_epochs_(?P<first>\d+)_(?P<last>\d+)")
"""A score over some epochs alone: curvature_epochs_1_10 is `curvature` over the recorded ones of 1 to 10."""
ACROSS = frozenset({"variance_of_gradients"})
"""Scores of an array that is recorded once for all epochs, when asked for; they have no windows."""


def known(name: str) -> bool:
    """Whether a score has this name, or a window of epochs of a score."""
    window = WINDOW.fullmatch(name)
    if window is None:
        return name in SCORES
    return window["name"] in SCORES.keys() - ACROSS and 0 < int(window["first"]) <= int(window["last"])


def compute(name: str, trajectory: Records) -> NDArray[np.float64]:
    """The score with a name that is `known`, (N,).

    Raises:
        LookupError: if what it is made of was not recorded.
    """
    window = WINDOW.fullmatch(name)
    if window is not None:
        name, trajectory = window["name"], trajectory.between(int(window["first"]), int(window["last"]))
    if not trajectory.epochs:
        raise LookupError("no epoch of the window was recorded")
    return SCORES[name](trajectory)


def ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each sample (N,), 1 for the largest score; ties in id order."""
    order = np.argsort(-values, kind="stable")
    places = np.empty(len(values), dtype=np.int64)
    places[order] = np.arange(1, len(values) + 1)
    return places


@score
def curvature(trajectory: Records) -> NDArray[np.float64]:
    """Memorization score of the paper: the mean of curvature_t over the recorded epochs t.

    Source: Garg, Ravikumar & Roy, ICML 2024.
    """
    return trajectory.mean("curvature")


@score
def curvature_last(trajectory: Records) -> NDArray[np.float64]:
    """The curvature at the last recorded epoch alone.

    Source: the comparison in Garg, Ravikumar & Roy, ICML 2024; why the mean over epochs matters.
    """
    return trajectory.last("curvature").astype(np.float64)


@score
def curvature_log(trajectory: Records) -> NDArray[np.float64]:
    """The mean over epochs of the log of the curvature: epochs of large curvature do not outweigh others.

    A curvature of zero (where float32 says that the loss is flat) counts as the smallest other one of the
    epoch.
    """
    total = np.zeros(())
    for values in trajectory.each("curvature"):
        least = values.min(where=values > 0, initial=values.max() or 1.0)
        total = total + np.log(np.maximum(values, least))
    return total / len(trajectory.epochs)


@score
def curvature_ranks(trajectory: Records) -> NDArray[np.float64]:
    """The mean over epochs of the sample's place among all, from 1 for the smallest curvature of the epoch.

    Equal values share the mean of their places.
    """
    total = np.zeros(())
    for values in trajectory.each("curvature"):
        _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
        total = total + (np.cumsum(counts) - (counts - 1) / 2)[level]
    return total / len(trajectory.epochs)


@score
def cumulative_loss(trajectory: Records) -> NDArray[np.float64]:
    """CSL, cumulative sample loss: the mean over epochs of the loss of the given label.

    Source: Ravikumar et al., ICML 2025 (there a sum: the same ranking).
    """
    return trajectory.mean("loss")


@score
def mean_margin(trajectory: Records) -> NDArray[np.float64]:
    """Minus AUM, the mean over epochs of f_y - max_{c != y} f_c, so that larger is more suspect.

    Source: Pleiss et al., NeurIPS 2020, equation 1.
    """
    return -trajectory.mean("margin")


@score
def gradient_norm(trajectory: Records) -> NDArray[np.float64]:
    """Loss sensitivity: the mean over epochs of the Euclidean norm of the input gradient.

    Source: Arpit et al., ICML 2017, section 4 (there the L1 norm).
    """
    return trajectory.mean("gradient_norm")


@score
def inconfidence(trajectory: Records) -> NDArray[np.float64]:
    """1 - p_y at the last recorded epoch.

    Source: the confidence of Carlini, Erlingsson & Papernot, 2019, there of the predicted class, averaged
    over an ensemble.
    """
    return 1 - trajectory.last("probability").astype(np.float64)


@score
def confidence(trajectory: Records) -> NDArray[np.float64]:
    """Minus the confidence of data maps, the mean over epochs of p_y, so that larger is more suspect.

    Source: Swayamdipta et al., EMNLP 2020, section 2.
    """
    return -trajectory.mean("probability")


@score
def variability(trajectory: Records) -> NDArray[np.float64]:
    """Variability of data maps: the standard deviation over epochs of p_y (divided by T).

    Source: Swayamdipta et al., EMNLP 2020, section 2.
    """
    mean, total = trajectory.mean("probability"), np.zeros(())
    for values in trajectory.each("probability"):
        total = total + (values - mean) ** 2
    return np.sqrt(total / len(trajectory.epochs))


@score
def el2n(trajectory: Records) -> NDArray[np.float64]:
    """EL2N: the mean over epochs of ||p - onehot(y)||.

    Source: Paul et al., NeurIPS 2021, definition 2.2 (there at one early epoch, averaged over seeds).
    """
    return trajectory.mean("error_norm")


@score
def forgetting_events(trajectory: Records) -> NDArray[np.float64]:
    """How often a sample is predicted right in one recorded epoch and wrong in the next; T if never right.

    Source: Toneva et al., ICLR 2019, section 3 (there between a sample's minibatches, never learned
    counting as infinite).
    """
    before, forgotten, learned = None, np.zeros(()), np.zeros((), dtype=bool)
    for values in trajectory.each("correct"):
        right = values > 0
        if before is not None:
            forgotten = forgotten + (before & ~right)
        before, learned = right, learned | right
    return np.where(learned, forgotten, len(trajectory.epochs))


@score
def learning_time(trajectory: Records) -> NDArray[np.float64]:
    """The first recorded epoch from which the prediction stays right, counted from 1; T + 1 where none is.

    Source: Jiang et al., ICML 2021 (learning speed); Arpit et al., ICML 2017.
    """
    since = np.zeros(())
    for number, values in enumerate(trajectory.each("correct"), start=1):
        since = np.where(values > 0, since, number)  # the last epoch at which it was wrong
    return since + 1


@score
def first_learned(trajectory: Records) -> NDArray[np.float64]:
    """The first recorded epoch at which p_y is above 1/2, counted from 1; T + 1 where none is.

    Source: the threshold form of learning time in Ravikumar et al., ICML 2025, Table 2.
    """
    count = len(trajectory.epochs)
    found = np.full((), count + 1.0)
    for number, values in enumerate(trajectory.each("probability"), start=1):
        found = np.where((values > 0.5) & (found > count), number, found)
    return found


@score
def variance_of_gradients(trajectory: Records) -> NDArray[np.float64]:
    """VoG: the variance over recorded epochs of d f_y / d x, the mean over pixels, standardized per class.

    Recorded where params.yaml has record.gradient_variance: true.

    Source: Agarwal, D'souza & Hooker, CVPR 2022, section 2 (there times sqrt T: the same ranking).
    """
    return trajectory.across("variance_of_gradients")
