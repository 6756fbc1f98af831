"""Intervals from a covariance, against Fisher's z and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.evaluation.intervals import Estimates


def test_the_interval_of_a_correlation_is_fishers() -> None:
    """With the variance (1 - r^2)^2 / n of normal data it is tanh(artanh r -+ 1.96 / sqrt(n))."""
    for value in (-0.3, 0.0, 0.9):
        [found] = Estimates(np.array([value]), np.array([[(1 - value**2) ** 2 / 100]]), (-1, 1)).intervals(
            0.95
        )
        expected = np.tanh(np.arctanh(value) + np.array([-0.196, 0.196]))
        assert (found.value, found.low, found.high) == pytest.approx((value, *expected), abs=1e-5)


def test_an_interval_is_normal_where_there_is_room_and_stays_within_the_bounds() -> None:
    narrow, wide = Estimates(np.array([0.5, 0.98]), np.diag([1e-6, 0.01]), (0, 1)).intervals(0.95)
    assert (narrow.low, narrow.high) == pytest.approx((0.5 - 1.96e-3, 0.5 + 1.96e-3), abs=1e-5)
    assert 0 < wide.low < 0.9
    assert 0.98 < wide.high < 1


@pytest.mark.parametrize("value", [0.0, 1.0, 0.7, np.nan])
def test_a_value_without_error_is_its_own_interval(value: float) -> None:
    [found] = Estimates(np.array([value]), np.zeros((1, 1)), (0, 1)).intervals(0.95)
    np.testing.assert_equal((found.value, found.low, found.high), (value, value, value))


def test_differences_are_paired() -> None:
    """Variances .04 and .09, covariance .05: that of the difference is .03."""
    both = Estimates(np.array([0.7, 0.4]), np.array([[0.04, 0.05], [0.05, 0.09]]), (0, 1))
    there, back, none = both.differences([(0, 1), (1, 0), (0, 0)], 0.95)
    assert (there.value, there.low, there.high) == pytest.approx(
        (0.3, 0.3 - 0.33948, 0.3 + 0.33948), abs=1e-4
    )
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert (none.value, none.low, none.high) == (0, 0, 0)
