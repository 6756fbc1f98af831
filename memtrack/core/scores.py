"""Scores: a trajectory in, one number per sample out, larger = more likely memorized or mislabelled.

To add one, write a function of `Records` under `@score` and a test.
"""

from __future__ import annotations

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
