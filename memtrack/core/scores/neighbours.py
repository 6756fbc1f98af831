"""How far a given label differs from those of the sample's nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores.registry import By, Need, Neighbourhoods, Values, score

COUNT = 30
"""The number of neighbours. They vote on a label, so it may be large; all of them are near if classes are."""
COST = "a search for the nearest neighbours of all samples"


@score(title="neighbours by features", needs=(Need.NEIGHBOURS,), cost=COST)
def neighbours(found: Neighbourhoods) -> Values:
    """The share of the nearest neighbours with another given label. They are nearest by the features of the
    network early in its training, before it has memorized labels.

    Source: the vote of the nearest neighbours, as in Zhu, Dong & Liu, ICML 2022 (SimiFeat), section 3.
    """
    return disagreement(found, "features")


@score(title="neighbours by pixels", needs=(Need.NEIGHBOURS,), cost=COST)
def neighbours_pixels(found: Neighbourhoods) -> Values:
    """The same as `neighbours`, with neighbours that are nearest by their pixels."""
    return disagreement(found, "pixels")


def disagreement(found: Neighbourhoods, by: By) -> Values:
    """The share of the `COUNT` nearest neighbours with another given label, (N,); 0 if there are none."""
    rows, labels = found.nearest(by, COUNT), found.labels
    return shares(rows, labels[:, None] != labels[rows])


def shares(rows: NDArray[np.int64], holds: NDArray[np.bool_]) -> Values:
    """For how many of the neighbours (N, count) something holds, as a share, (N,)."""
    there = rows >= 0
    return (holds & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
