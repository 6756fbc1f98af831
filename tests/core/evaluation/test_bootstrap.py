"""The bootstrap, against SciPy's and against drawing by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from memtrack.core.evaluation.bootstrap import Resampling, draws, intervals, resampled

STRATA = [np.array([0, 3, 4]), np.array([1, 2, 5, 6, 7])]


def test_every_group_keeps_its_size() -> None:
    for weights in resampled(STRATA, Resampling(50, 0.95, 3)):
        assert [weights[rows].sum() for rows in STRATA] == [3, 5]
        assert ((weights >= 0) & (weights == weights.round())).all()


def test_weights_are_the_counts_of_what_is_drawn() -> None:
    generator = np.random.Generator(np.random.PCG64(9))
    for weights in resampled(STRATA, Resampling(20, 0.95, 9)):
        drawn = [rows[generator.integers(0, len(rows), len(rows))] for rows in STRATA]
        assert weights.tolist() == np.bincount(np.concatenate(drawn), minlength=8).tolist()


def test_the_same_seed_gives_the_same_samples() -> None:
    first, again, other = (np.array(list(resampled(STRATA, Resampling(5, 0.95, seed)))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=400)
    how = Resampling(4000, 0.9, 0)

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.array([weights @ values / weights.sum()])

    [found] = intervals(np.array([values.mean()]), draws(mean, [np.arange(400)], how), how.confidence)
    expected = scipy_bootstrap(
        (values,), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_what_is_not_defined_in_a_sample_is_left_out() -> None:
    drawn = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    one, none = intervals(np.array([2.0, 5.0]), drawn, 0.5)
    assert (one.low, one.high) == (1.5, 2.5)
    assert np.isnan([none.low, none.high]).all()
