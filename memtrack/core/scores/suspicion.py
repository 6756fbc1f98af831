"""Suspicion: the score that ranks the samples whose given label is probably wrong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores.from_trajectory import aum, csl, el2n, mean_ranks
from memtrack.core.scores.neighbours import COST, COUNT, neighbours, neighbours_pixels
from memtrack.core.scores.registry import Need, Neighbourhoods, Values, score

SUSPICION = "suspicion"
"""The name of the score; tables and pictures of samples are in its order."""
EARLY = 1 / 3
"""`suspicion` looks at this share of the recorded epochs, before a network fits wrong labels, and at all."""
VOTED = 10_000
"""Votes are counted for so many samples at once."""


@score(needs=(Need.EPOCHS, Need.NEIGHBOURS), cost=COST)
def suspicion(trajectory: EpochArrays, found: Neighbourhoods) -> Values:
    """The mean of three ranks: of EL2N over the first third of the recorded epochs, of EL2N over all of
    them, and of `neighbours`. 1 for the sample that is the most suspect by all, and 1/N for the least.

    Source: our own. The parts and their number of epochs were chosen by benchmarks/detection.py.
    """
    parts = [el2n(_early(trajectory)), el2n(trajectory), neighbours(found)]
    return mean_ranks(parts) / len(found.labels)


def _early(trajectory: EpochArrays) -> EpochArrays:
    early = trajectory.epochs[: math.ceil(len(trajectory.epochs) * EARLY)]
    return trajectory.between(early[0], early[-1])


def suspicion_features(trajectory: EpochArrays, found: Neighbourhoods) -> dict[str, Values]:
    """The scores that may make up a learned suspicion, each (N,); see
    `memtrack.core.evaluation.mislabelled.learned`."""
    early = _early(trajectory)
    return {
        "csl": csl(trajectory),
        "aum": aum(trajectory),
        "el2n": el2n(trajectory),
        "early aum": aum(early),
        "early el2n": el2n(early),
        "neighbours": neighbours(found),
        "neighbours_pixels": neighbours_pixels(found),
    }


def suggested_labels(
    trajectory: EpochArrays, found: Neighbourhoods, *, classes: int
) -> tuple[NDArray[np.int64], Values]:
    """For each sample the class, other than the given label, that most of the recorded epochs and of the
    nearest neighbours vote for; each of the two has half of the votes. The lowest class of equals.

    Returns:
        the classes (N,), and their share of the votes for other classes than the given one (N,); 0 if there
        are no such votes.
    """
    labels, rows = found.labels, found.nearest("features", COUNT)
    predicted = [values.astype(np.int64) for values in trajectory.each("predicted")]
    suggested, shares = np.empty_like(labels), np.zeros(len(labels))
    for start in range(0, len(labels), VOTED):
        part = slice(start, start + VOTED)
        count = len(labels[part])
        own = np.arange(count)
        votes = np.zeros((count, classes))
        for values in predicted:
            votes[own, values[part]] += 1 / len(predicted)
        near = rows[part]
        there = near >= 0
        weights = there / np.maximum(there.sum(axis=1, keepdims=True), 1)
        np.add.at(votes, (own[:, None], labels[near]), weights)
        votes[own, labels[part]] = 0
        most, total = votes.max(axis=1), votes.sum(axis=1)
        np.divide(most, total, out=shares[part], where=total > 0)
        votes[own, labels[part]] = -1
        suggested[part] = votes.argmax(axis=1)
    return suggested, shares
