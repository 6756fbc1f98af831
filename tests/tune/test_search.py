"""Which samples choose, and which confirm."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.tune.plan import halves


@pytest.mark.parametrize(("count", "rate"), [(100, 0.1), (1001, 0.33), (7, 0.5)])
def test_halves_share_no_sample_and_have_half_of_the_corrupted_each(count: int, rate: float) -> None:
    corrupted = np.random.default_rng(0).random(count) < rate
    first, second = halves(corrupted)
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(count))
    for flags in (corrupted, ~corrupted):
        assert 0 <= flags[first].sum() - flags[second].sum() <= 1
    again = halves(corrupted)
    np.testing.assert_array_equal(first, again[0])
