"""Scores from networks that are trained on one half of the samples and then on the other half, and from a
network of which each sample trains a half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores.registry import Need, Values, score

if TYPE_CHECKING:
    from memtrack.core.recording.trajectory import EpochArrays

COST = "two trainings, and two passes over the samples for each epoch"


@dataclass(frozen=True)
class Halves:
    """What networks that are trained on one half of the samples say of the samples.

    Attributes:
        holdout_loss: the loss of each sample in the network that was trained on the other half, (N,).
        probabilities: of all classes in the same network, (N, C). labels: the given labels, int64 (N,).
        forgotten: the epoch of the training on the other half from which the sample stays misclassified,
            counted from 1, in the network that was trained on the sample's own half before. It is the number
            of epochs + 1 if the sample is classified correctly at the end; (N,).
    """

    holdout_loss: Values
    probabilities: Values
    labels: NDArray[np.int64]
    forgotten: Values


@score(needs=(Need.HALVES,), cost=COST, by_default=False)
def holdout_loss(halves: Halves) -> Values:
    """The irreducible holdout loss: the loss of the given label in a network that never saw the sample.

    Source: Mindermann et al., ICML 2022, section 3.
    """
    return halves.holdout_loss


@score(title="reducible holdout loss (RHO)", needs=(Need.EPOCHS, Need.HALVES), cost=COST, by_default=False)
def rho(trajectory: EpochArrays, halves: Halves) -> Values:
    """Minus RHO, the reducible holdout loss: the loss in a network that never saw the sample, minus the loss
    in the network of the last recorded epoch. Memorized samples have a large loss in the first network alone.

    Source: Mindermann et al., ICML 2022, equation 3. They train on samples with a large RHO, and compute it
    anew for each batch.
    """
    return halves.holdout_loss - trajectory.last("loss").astype(np.float64)


@score(title="second-split forgetting time (SSFT)", needs=(Need.HALVES,), cost=COST, by_default=False)
def ssft(halves: Halves) -> Values:
    """Minus SSFT, the second-split forgetting time: the epoch from which a sample stays misclassified while
    its network is trained on the other half. Mislabelled samples are forgotten first.

    Source: Maini, Garg, Lipton & Kolter, NeurIPS 2022, definition 2.
    """
    return -halves.forgotten


@score(
    title="turn-over dropout",
    needs=(Need.TURN_OVER,),
    cost="a training, and two passes over the samples",
    by_default=False,
)
def turn_over(difference: Values) -> Values:
    """Self-influence by turn-over dropout: the loss of a sample in the half of a network that was never
    trained on it, minus that in the half that was. Every sample has a half of its own.

    Source: Kobayashi, Yokoi, Suzuki & Inui, 2020, section 3.
    """
    return difference
