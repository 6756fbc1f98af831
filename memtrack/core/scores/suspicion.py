"""Suspicion: the score that ranks the samples whose given label is probably wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores.from_trajectory import aum, csl, el2n, mean_ranks
from memtrack.core.scores.neighbours import (
    COST,
    neighbours,
    neighbours_pixels,
    neighbours_pretrained,
    voters,
    voting_epochs,
)
from memtrack.core.scores.registry import Need, Neighbourhoods, Values, score
from memtrack.core.scores.telling_epochs import telling

SUSPICION = "suspicion"
"""The name of the score; tables and pictures of samples are in its order."""
FIRST = 1 / 3
"""The share of the recorded epochs that `suspicion_features` calls early."""
PIXELS = 0.5
"""The weight of the neighbours by pixels in `suspicion`; the other two parts have 1."""
MISLABELLED, RARE = "mislabelled", "rare"
OUTVOTED = "outvoted"
"""In place of the kind "mislabelled" where a learned probability says that the label is rather right."""
USUAL = 0.9
"""A sample whose given label has this share of the votes is neither."""
VOTED = 10_000
"""Votes are counted for so many samples at once."""


@score(needs=(Need.EPOCHS, Need.NEIGHBOURS), cost=COST)
def suspicion(trajectory: EpochArrays, found: Neighbourhoods) -> Values:
    """The mean rank of a sample, from 1/N to 1, by EL2N until the last of the `telling` epochs, by
    `neighbours` and, with half of the weight, by `neighbours_pixels`.

    Source: our own. The parts and their weights were chosen on digits and CIFAR-10; benchmarks/detection.py
    measures them.
    """
    until = trajectory.between(trajectory.epochs[0], telling(trajectory).last)
    parts = [el2n(until), neighbours(trajectory, found)]
    ranked = 2 * mean_ranks(parts) + PIXELS * mean_ranks([neighbours_pixels(found)])
    return ranked / (2 + PIXELS) / len(found.labels)


def suspicion_features(
    trajectory: EpochArrays, found: Neighbourhoods, pretrained: Neighbourhoods | None = None
) -> dict[str, Values]:
    """The scores that may make up a learned suspicion, each (N,); see
    `memtrack.core.evaluation.mislabelled.learned`. `pretrained`: the neighbours in a pretrained network, if
    there is one."""
    more = {} if pretrained is None else {"neighbours_pretrained": neighbours_pretrained(pretrained)}
    epochs = trajectory.epochs
    early = trajectory.between(epochs[0], epochs[math.ceil(len(epochs) * FIRST) - 1])
    until = trajectory.between(epochs[0], telling(trajectory).last)
    return {
        "csl": csl(trajectory),
        "aum": aum(trajectory),
        "el2n": el2n(trajectory),
        "aum, early epochs": aum(early),
        "el2n, early epochs": el2n(early),
        "el2n, telling epochs": el2n(until),
        "neighbours": neighbours(trajectory, found),
        "neighbours_pixels": neighbours_pixels(found),
        **more,
    }


def suggested_labels(
    trajectory: EpochArrays, found: Neighbourhoods, *, classes: int
) -> tuple[NDArray[np.int64], Values]:
    """For each sample the class, other than the given label, that most of the recorded epochs and of the
    nearest neighbours vote for; each of the two has half of the votes. The lowest class of equals.

    Returns:
        the classes (N,), and their share of the votes for other classes than the given one (N,); -1 and 0 if
        there are no such votes.
    """
    suggested, shares = np.empty_like(found.labels), np.zeros(len(found.labels))
    for part, votes in _votes(trajectory, found, trajectory.epochs[-1], classes):
        votes[np.arange(len(votes)), found.labels[part]] = 0
        most, total = votes.max(axis=1), votes.sum(axis=1)
        np.divide(most, total, out=shares[part], where=total > 0)
        suggested[part] = np.where(total > 0, votes.argmax(axis=1), -1)
    return suggested, shares


def kinds(trajectory: EpochArrays, found: Neighbourhoods, *, classes: int) -> NDArray[np.object_]:
    """What a suspect seems to be, (N,): "mislabelled" if another class has more votes than the given label;
    else "rare" if the given label has less than `USUAL` of them; else "". The recorded epochs until the last
    of the `telling` ones vote, and the nearest neighbours; each of the two has half of the votes.

    Source: our own.
    """
    kind = np.full(len(found.labels), "", dtype=object)
    for part, votes in _votes(trajectory, found, telling(trajectory).last, classes):
        own = np.arange(len(votes))
        given, total = votes[own, found.labels[part]], votes.sum(axis=1)
        votes[own, found.labels[part]] = 0
        rare = np.where(given < USUAL * total, RARE, "")
        kind[part] = np.where(votes.max(axis=1) > given, MISLABELLED, rare)
    return kind


def shown_kind(kind: str, mislabelled: float | None) -> str:
    """What people are told that a sample seems to be.

    Args:
        kind: see `kinds`. mislabelled: the learned probability that its label
            is wrong; None or NaN: it was not learned.
    """
    return OUTVOTED if kind == MISLABELLED and mislabelled is not None and mislabelled <= 0.5 else kind


def _votes(
    trajectory: EpochArrays, found: Neighbourhoods, last: int, classes: int
) -> Iterator[tuple[slice, Values]]:
    """The votes of some samples at a time for each class, (len(part), classes): of the predictions until the
    epoch `last`, and of the nearest neighbours' labels."""
    labels, rows = found.labels, found.nearest(voters(found.among), voting_epochs(trajectory, found)[-1])
    until = trajectory.between(trajectory.epochs[0], last)
    predicted = [values.astype(np.int64) for values in until.each("predicted")]
    for start in range(0, len(labels), VOTED):
        part = slice(start, start + VOTED)
        own = np.arange(len(labels[part]))
        votes = np.zeros((len(own), classes))
        for values in predicted:
            votes[own, values[part]] += 1 / len(predicted)
        near = rows[part]
        there = near >= 0
        weights = there / np.maximum(there.sum(axis=1, keepdims=True), 1)
        np.add.at(votes, (own[:, None], found.among[near]), weights)
        yield part, votes
