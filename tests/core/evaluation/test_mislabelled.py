"""What is learned from flips, where the truth is known: two normal distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from memtrack.core.evaluation.mislabelled import FlippedTraining, Mislabelled, _highest_share, learned

N, WRONG, APART = 4000, 0.15, 2.5


def drawn(wrong: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Two features; the second one says nothing."""
    return np.stack([draw.normal(APART * wrong, 1), draw.normal(5, 3, len(wrong))], axis=1)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, Mislabelled]:
    """Which labels are wrong, the features of the plain training, and what is learned from two others."""
    draw = np.random.default_rng(0)
    wrong = draw.random(N) < WRONG
    features = drawn(wrong, draw)
    trusted = features[:, 0] <= np.quantile(features[:, 0], 0.7)
    trainings = []
    for _ in range(2):
        flipped = np.zeros(N, dtype=bool)
        flipped[draw.choice(np.flatnonzero(trusted & ~wrong), N // 10, replace=False)] = True
        trainings.append(FlippedTraining(drawn(wrong | flipped, draw), flipped, trusted))
    return wrong, features, learned(features, trainings)


def test_probabilities_are_those_of_bayes(case: tuple[np.ndarray, np.ndarray, Mislabelled]) -> None:
    _, features, found = case
    right, other = norm.pdf(features[:, 0]), norm.pdf(features[:, 0], APART)
    expected = WRONG * other / (WRONG * other + (1 - WRONG) * right)
    assert np.abs(found.probability - expected).mean() < 0.03


def test_the_number_of_wrong_labels(case: tuple[np.ndarray, np.ndarray, Mislabelled]) -> None:
    wrong, _, found = case
    assert found.wrong == pytest.approx(wrong.sum(), rel=0.1)
    assert found.low < wrong.sum() < found.high
    assert found.high - found.low < wrong.sum() / 2


def test_what_is_called_mislabelled(case: tuple[np.ndarray, np.ndarray, Mislabelled]) -> None:
    wrong, _, found = case
    hits = (wrong & found.called).sum()
    assert found.expected_precision == pytest.approx(hits / found.called.sum(), abs=0.05)
    assert found.expected_recall == pytest.approx(hits / wrong.sum(), abs=0.08)


def test_the_feature_that_says_nothing_has_no_weight(
    case: tuple[np.ndarray, np.ndarray, Mislabelled],
) -> None:
    _, features, found = case
    assert abs(found.weights[1]) < 0.1 * found.weights[0]
    assert np.corrcoef(found.suspicion, features[:, 0])[0, 1] > 0.99
    between = norm.cdf(APART / np.sqrt(2))  # the AUROC of two normal distributions
    assert found.auroc == pytest.approx(between, abs=0.02)
    assert found.aurocs == pytest.approx([between, 0.5], abs=0.03)


def test_a_feature_without_spread_is_no_trouble() -> None:
    draw = np.random.default_rng(1)
    flipped = np.arange(100) < 20
    features = np.stack([draw.normal(3 * flipped), np.full(100, 7.0)], axis=1)
    found = learned(features, [FlippedTraining(features, flipped, np.ones(100, dtype=bool))])
    assert np.isfinite(found.suspicion).all()
    assert found.weights[1] == 0


@pytest.mark.parametrize("flips", [2, 98])
def test_too_few_to_learn_from(flips: int) -> None:
    flipped = np.arange(100) < flips
    training = FlippedTraining(np.zeros((100, 1)), flipped, np.ones(100, dtype=bool))
    with pytest.raises(ValueError, match="fewer than 5"):
        learned(np.zeros((100, 1)), [training])


@pytest.mark.parametrize(("apart", "extra"), [(9.0, 0.5), (4.0, 12.0)])
def test_labels_of_which_none_looks_wrong_may_still_be_wrong(apart: float, extra: float) -> None:
    """The rule of three: 0 of N wrong fits a share of up to 3 / N."""
    draw = np.random.default_rng(0)
    flipped = np.arange(400) < 40
    features = draw.normal(apart * flipped, 1)[:, None]
    plain = draw.normal(0, 1, 400)[:, None]
    found = learned(plain, [FlippedTraining(features, flipped, np.ones(400, dtype=bool))])
    assert (found.wrong, found.low) == pytest.approx((0, 0), abs=1e-3)
    assert 3 <= found.high <= 3 + extra


def test_the_highest_share_is_that_of_the_likelihood() -> None:
    odds = np.array([-3.0, -2.0, 0.5, 1.0, -4.0])
    shares = np.linspace(0, 1, 200001)[1:-1]
    support = np.log(1 - shares + shares * np.exp(odds)[:, None]).sum(axis=0)
    fits = shares[support >= support.max() + np.log(0.05)]
    assert _highest_share(odds) == pytest.approx(fits.max(), abs=1e-5)
    assert _highest_share(np.full(100, -60.0)) == pytest.approx(
        1 - 0.05 ** (1 / 100)
    )  # Clopper and Pearson's
    assert _highest_share(np.full(10, 60.0)) == 1
