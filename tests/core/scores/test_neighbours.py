"""The vote of the neighbours, against a loop."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import Need, compute, neighbours

EPOCHS = InMemoryTrajectory({"error_norm": {2: np.arange(50.0), 4: np.zeros(50)}})
"""The samples differ in epoch 2 alone."""

VOTERS = 8
"""Half of the median class of `Found`, which has 16, 17 and 17 samples."""


class Found:
    """`Neighbourhoods` with drawn rows, some of which are missing."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.labels = self.among = draw.permutation(np.repeat([0, 1, 2], [16, 17, 17]))
        self.rows = {epoch: draw.integers(0, 50, (50, neighbours.COUNT)) for epoch in (None, 2)}
        self.rows[2][7, 4:] = -1
        self.rows[2][9] = -1

    def nearest(self, count: int, epoch: int | None = None) -> np.ndarray:
        return self.rows[epoch][:, :count]


@pytest.mark.parametrize(("name", "epoch"), [("neighbours", 2), ("neighbours_pixels", None)])
def test_is_the_share_of_neighbours_with_another_label(name: str, epoch: int | None) -> None:
    found = Found()
    values = compute(name, {Need.EPOCHS: EPOCHS, Need.NEIGHBOURS: found})
    for sample, rows in enumerate(found.nearest(VOTERS, epoch)):
        labels = [found.labels[row] for row in rows if row >= 0]
        others = sum(label != found.labels[sample] for label in labels)
        assert values[sample] == (others / len(labels) if labels else 0)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [([24, 24], 12), ([500, 500], 30), ([0, 9, 0, 11, 13], 5), ([1000, 4, 4], 3), ([1, 1, 1], 3)],
)
def test_half_of_the_median_class_votes(sizes: list[int], count: int) -> None:
    assert neighbours.voters(np.repeat(np.arange(len(sizes)), sizes)) == count


def test_few_samples_are_not_outvoted_by_other_classes() -> None:
    """Ten classes of six: with 30 neighbours, most of them would be of other classes."""
    digits, classes = load_digits(return_X_y=True)
    aurocs = []
    for seed in range(10):
        draw = np.random.default_rng(seed)
        chosen = np.concatenate([draw.choice(np.flatnonzero(classes == one), 6, False) for one in range(10)])
        wrong = np.arange(60) % 10 == 0
        labels = np.where(wrong, (classes[chosen] + draw.integers(1, 10, 60)) % 10, classes[chosen])
        rows = NearestNeighbors().fit(digits[chosen]).kneighbors(n_neighbors=30, return_distance=False)
        found = SimpleNamespace(labels=labels, among=labels, nearest=lambda count, rows=rows: rows[:, :count])
        values = compute("neighbours_pixels", {Need.NEIGHBOURS: found}), neighbours.disagreement(found, rows)
        aurocs.append([roc_auc_score(wrong, each) for each in values])
    few, many = np.mean(aurocs, axis=0)
    assert few > 0.9 > many
