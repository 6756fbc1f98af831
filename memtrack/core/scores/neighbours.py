"""How far a given label differs from those of the sample's nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores.registry import Need, Neighbourhoods, Values, score
from memtrack.core.scores.telling_epochs import telling

FEWEST, COUNT = 3, 30
"""The number of neighbours, at least and at most; see `voters`."""
MANY = 100_000
"""Of more samples, neighbours are searched in one epoch alone: with a million each search takes minutes."""
COST = "a search for the nearest neighbours of all samples"


@score(title="neighbours by features", needs=(Need.EPOCHS, Need.NEIGHBOURS), cost=COST)
def neighbours(trajectory: EpochArrays, found: Neighbourhoods) -> Values:
    """The share of the nearest neighbours with another given label. They are nearest by the features of the
    network; the mean over the early `telling` epochs, or the first of them if there are more than `MANY`
    samples. A network that has memorized labels puts samples with the same wrong label side by side.

    Source: the vote of the nearest neighbours, as in Zhu, Dong & Liu, ICML 2022 (SimiFeat), section 3.
    """
    epochs = voting_epochs(trajectory, found)
    total = np.zeros(())
    for epoch in epochs:
        total = total + disagreement(found, found.nearest(voters(found.among), epoch))
    return total / len(epochs)


def voters(labels: NDArray[np.int64]) -> int:
    """How many nearest neighbours vote on a label: half of the median class, but 3 to 30. With more, most
    neighbours of a sample in a small class would have to be of another class.

    Args:
        labels: those of the training samples, (N,).
    """
    sizes = np.bincount(labels)
    return int(np.clip(np.median(sizes[sizes > 0]) // 2, FEWEST, COUNT))


def voting_epochs(trajectory: EpochArrays, found: Neighbourhoods) -> tuple[int, ...]:
    """The epochs in which neighbours are searched by features."""
    early = telling(trajectory).early
    return early if len(found.among) <= MANY else early[:1]


@score(title="neighbours by pixels", needs=(Need.NEIGHBOURS,), cost=COST)
def neighbours_pixels(found: Neighbourhoods) -> Values:
    """The share of the nearest neighbours with another given label. They are nearest by their pixels.

    Source: as `neighbours`.
    """
    return disagreement(found, found.nearest(voters(found.among)))


@score(
    title="neighbours in a pretrained network",
    needs=(Need.PRETRAINED,),
    cost="a pass of the pretrained network over the samples, and a search for their nearest neighbours",
    by_default=False,
)
def neighbours_pretrained(found: Neighbourhoods) -> Values:
    """The share of the nearest neighbours with another given label. They are nearest by the features of a
    network that others have trained on other images.

    Source: Zhu, Dong & Liu, ICML 2022 (SimiFeat), section 3.
    """
    return disagreement(found, found.nearest(voters(found.among)))


def disagreement(found: Neighbourhoods, rows: NDArray[np.int64]) -> Values:
    """The share of the neighbours (N, count) with another given label, (N,); 0 if there are none."""
    there = rows >= 0
    others = (found.labels[:, None] != found.among[rows]) & there
    return others.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
