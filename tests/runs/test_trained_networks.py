"""Nearest samples, against all distances."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.runs.trained_networks import others


@pytest.mark.parametrize("count", [1, 7, 39, 60])
def test_others_are_the_nearest(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    vectors[20:25] = vectors[:5]  # the same vector twice: either may come first
    found = others(vectors, count)
    assert found.shape == (40, min(count, 39))
    for row, rows in enumerate(found):
        assert row not in rows
        assert len(set(rows)) == len(rows)
        apart = np.linalg.norm(vectors - vectors[row], axis=1)
        nearest = np.sort(np.delete(apart, row))[: len(rows)]
        assert apart[rows] == pytest.approx(nearest, abs=1e-3)


def test_more_equal_vectors_than_neighbours() -> None:
    """Then the vector itself may not be among those that are found."""
    found = others(np.zeros((50, 2), dtype=np.float32), 3)
    assert found.shape == (50, 3)
    assert not (found == np.arange(50)[:, None]).any()
