"""The vote of the neighbours, against a loop."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import Need, compute, neighbours

EPOCHS = InMemoryTrajectory({"error_norm": {2: np.arange(50.0), 4: np.zeros(50)}})
"""The samples differ in epoch 2 alone."""


class Found:
    """`Neighbourhoods` with drawn rows, some of which are missing."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.labels = self.among = draw.integers(0, 3, 50)
        self.rows = {epoch: draw.integers(0, 50, (50, neighbours.COUNT)) for epoch in (None, 2)}
        self.rows[2][7, 4:] = -1
        self.rows[2][9] = -1

    def nearest(self, count: int, epoch: int | None = None) -> np.ndarray:
        return self.rows[epoch][:, :count]


@pytest.mark.parametrize(("name", "epoch"), [("neighbours", 2), ("neighbours_pixels", None)])
def test_is_the_share_of_neighbours_with_another_label(name: str, epoch: int | None) -> None:
    found = Found()
    values = compute(name, {Need.EPOCHS: EPOCHS, Need.NEIGHBOURS: found})
    for sample, rows in enumerate(found.rows[epoch]):
        labels = [found.labels[row] for row in rows if row >= 0]
        others = sum(label != found.labels[sample] for label in labels)
        assert values[sample] == (others / len(labels) if labels else 0)
