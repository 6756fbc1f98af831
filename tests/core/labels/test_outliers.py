"""Samples that are far from all others."""

from __future__ import annotations

import numpy as np

from memtrack.core.labels.outliers import outliers


def test_what_lies_beyond_the_outer_fence() -> None:
    """The quartiles of 0 to 100 are 25 and 75, so the fence is at 75 + 3 * 50."""
    distances = np.r_[np.arange(101.0), 225, 226, 1000]
    rows, values = outliers(distances, 101)
    assert rows.tolist() == [102, 103]
    np.testing.assert_allclose(values, [226 / 50, 1000 / 50])


def test_equal_distances() -> None:
    rows, values = outliers(np.zeros(20), 20)
    assert rows.tolist() == values.tolist() == []
    rows, values = outliers(np.r_[np.zeros(20), 1.0], 20)
    assert (rows.tolist(), values.tolist()) == ([20], [1.0])
