"""The vote of the neighbours, against a loop."""

from __future__ import annotations

import numpy as np

from memtrack.core.scores import Need, compute, neighbours
from memtrack.core.scores.registry import By


class Found:
    """`Neighbourhoods` with drawn rows, the last of which are missing."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.labels = draw.integers(0, 3, 50)
        self.rows: dict[By, np.ndarray] = {
            by: draw.integers(0, 50, (50, neighbours.COUNT)) for by in ("pixels", "features")
        }
        self.rows["features"][7, 4:] = -1
        self.rows["features"][9] = -1

    def nearest(self, by: By, count: int) -> np.ndarray:
        return self.rows[by][:, :count]


def test_is_the_share_of_neighbours_with_another_label() -> None:
    found = Found()
    for name, by in (("neighbours", "features"), ("neighbours_pixels", "pixels")):
        values = compute(name, {Need.NEIGHBOURS: found})
        for sample, rows in enumerate(found.rows[by]):  # type: ignore[index]
            labels = [found.labels[row] for row in rows if row >= 0]
            others = sum(label != found.labels[sample] for label in labels)
            assert values[sample] == (others / len(labels) if labels else 0)
