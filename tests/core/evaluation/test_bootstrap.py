"""The bootstrap, against SciPy's and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from memtrack.core.evaluation.bootstrap import Resampling, Rows, Statistic, deviations, intervals

VALUES = np.random.default_rng(0).normal(size=400)


def mean(values: np.ndarray) -> Statistic:
    """Also checks that each resample has as many samples as there are."""

    def measure(weights: np.ndarray) -> np.ndarray:
        assert weights.sum() == pytest.approx(400)
        return np.array([weights @ values / weights.sum()])

    return measure


def of_the_mean(rows: Rows) -> Statistic:
    return mean(VALUES[rows])


def test_the_same_seed_gives_the_same_samples() -> None:
    first, again, other = (deviations(of_the_mean, 400, Resampling(5, 0.95, seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_interval_of_a_mean_is_scipys() -> None:
    how = Resampling(4000, 0.9, 0)
    drawn = deviations(of_the_mean, 400, how)
    assert drawn.shape == (1, 4000, 1)
    [found] = intervals(np.array([VALUES.mean()]), drawn, how.confidence)
    expected = scipy_bootstrap(
        (VALUES,), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    assert found.value == VALUES.mean()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_with_many_samples_subsets_give_the_interval_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard error of a mean is known; subsets of 80 have their own means, up to .25 away."""
    monkeypatch.setattr("memtrack.core.evaluation.bootstrap.LARGE", 80)
    how, seen = Resampling(2000, 0.9, 0), []

    def statistic(rows: Rows) -> Statistic:
        seen.append(rows)
        return mean(VALUES[rows])

    drawn = deviations(statistic, 400, how)
    assert drawn.shape == (20, 100, 1)
    assert [len(set(rows.tolist())) for rows in seen] == [80] * 20
    assert len({tuple(rows) for rows in seen}) == 20
    [found] = intervals(np.array([VALUES.mean()]), drawn, how.confidence)
    step = 1.645 * VALUES.std() / 20
    assert (found.low, found.high) == pytest.approx((VALUES.mean() - step, VALUES.mean() + step), abs=0.01)


def test_the_size_of_a_subset() -> None:
    how = Resampling(1000, 0.95, 0)
    assert [how.subset(samples) for samples in (9, 20_000, 20_001, 10**6)] == [9, 20_000, 20_000, 20_000]
    assert how.subset(10**7) == round(10**4.9)


def test_what_is_not_defined_in_a_sample_is_left_out() -> None:
    drawn = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]]) - 2
    one, none = intervals(np.array([2.0, 5.0]), drawn[None], 0.5)
    assert (one.low, one.high) == (1.5, 2.5)
    assert np.isnan([none.low, none.high]).all()
