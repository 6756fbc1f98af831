"""Memorization and influence, against brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from memtrack.core.memorization import Counts, agreement, influence


def nearest_neighbour(
    inputs: np.ndarray, labels: np.ndarray, members: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """The labels that the nearest of the members gives to each of `asked`, a model in closed form."""
    distances = np.abs(asked[:, None] - inputs[members][None])
    return labels[members][distances.argmin(axis=1)]


@pytest.fixture
def line() -> tuple[np.ndarray, np.ndarray]:
    """Seven samples on a line, of two classes; the fourth is mislabelled."""
    return np.array([0.0, 1.0, 2.1, 3.3, 4.6, 6.0, 7.5]), np.array([0, 0, 0, 1, 0, 1, 1])


def all_subsets(size: int, of: int) -> np.ndarray:
    members = np.zeros((0, of), dtype=bool)
    for chosen in itertools.combinations(range(of), size):
        row = np.zeros((1, of), dtype=bool)
        row[0, list(chosen)] = True
        members = np.concatenate([members, row])
    return members


def test_memorization_is_the_difference_of_two_probabilities(line: tuple[np.ndarray, np.ndarray]) -> None:
    """Over all subsets of five of seven samples."""
    inputs, labels = line
    members = all_subsets(5, 7)
    correct = np.stack([nearest_neighbour(inputs, labels, row, inputs) == labels for row in members])
    counts = Counts(7)
    counts.add(members, correct)
    for sample in range(7):
        inside = [right[sample] for row, right in zip(members, correct, strict=True) if row[sample]]
        outside = [right[sample] for row, right in zip(members, correct, strict=True) if not row[sample]]
        assert counts.memorization[sample] == pytest.approx(np.mean(inside) - np.mean(outside))
        assert counts.out_of_sample[sample] == pytest.approx(np.mean(outside))
    assert counts.memorization[3] == 1  # only itself has that label nearby
    assert counts.memorization[0] == 0


def test_drawn_subsets_come_near_leaving_one_out(line: tuple[np.ndarray, np.ndarray]) -> None:
    """With subsets of all but one sample, mem_m is the leave-one-out definition itself."""
    inputs, labels = line
    members = ~np.eye(7, dtype=bool)
    correct = np.stack([nearest_neighbour(inputs, labels, row, inputs) == labels for row in members])
    counts = Counts(7)
    counts.add(members, correct)
    everyone = nearest_neighbour(inputs, labels, np.ones(7, dtype=bool), inputs) == labels
    for sample in range(7):
        left = nearest_neighbour(inputs, labels, members[sample], inputs)[sample] == labels[sample]
        assert counts.memorization[sample] == float(everyone[sample]) - float(left)


def test_grouping_and_order_change_nothing() -> None:
    generator = np.random.default_rng(0)
    members, correct = generator.random((2, 60, 30)) < 0.6
    whole, parts = Counts(30), Counts(30)
    whole.add(members, correct)
    for rows in np.array_split(generator.permutation(60), 7):
        parts.add(members[rows], correct[rows])
    assert whole.memorization.tolist() == parts.memorization.tolist()
    assert whole.standard_error.tolist() == parts.standard_error.tolist()


def test_the_standard_error_is_the_spread_of_the_estimate() -> None:
    generator = np.random.default_rng(1)
    inside, outside, found, errors = 0.9, 0.4, [], []
    for _ in range(400):
        members = generator.random((200, 1)) < 0.7
        counts = Counts(1)
        counts.add(members, generator.random((200, 1)) < np.where(members, inside, outside))
        found.append(counts.memorization[0])
        errors.append(counts.standard_error[0])
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.1)
    assert np.mean(found) == pytest.approx(inside - outside, abs=0.01)


def test_without_networks_of_one_kind_nothing_is_known() -> None:
    counts = Counts(2)
    counts.add(np.array([[True, True], [True, False]]), np.array([[True, True], [True, False]]))
    assert np.isnan(counts.memorization[0])
    assert counts.memorization[1] == 1
    assert (counts.standard_error > 0).all()


def test_influence_by_brute_force() -> None:
    generator = np.random.default_rng(2)
    members, correct = generator.random((50, 6)) < 0.7, generator.random((50, 4)) < 0.5
    found, errors = influence(members, correct)
    for i, j in itertools.product(range(6), range(4)):
        inside, outside = correct[members[:, i], j], correct[~members[:, i], j]
        assert found[i, j] == pytest.approx(inside.mean() - outside.mean())
        single = Counts(1)
        single.add(members[:, i : i + 1], correct[:, j : j + 1])
        assert errors[i, j] == pytest.approx(single.standard_error[0])


class TestAgreement:
    def test_against_scipy(self) -> None:
        generator = np.random.default_rng(3)
        memorization = np.round(generator.random(200) ** 3, 2)
        scores = memorization + 0.2 * generator.normal(size=200)
        found = agreement(scores, memorization)
        assert found.pearson == pytest.approx(pearsonr(scores, memorization)[0])
        assert found.spearman == pytest.approx(spearmanr(scores, memorization)[0])
        raised = scores - scores.min()
        cosine = (raised * memorization).sum() / np.sqrt((raised**2).sum() * (memorization**2).sum())
        assert found.cosine == pytest.approx(cosine)
        count = (memorization > 0.25).sum()
        top = set(sorted(range(200), key=lambda i: -scores[i])[:count])
        assert found.precision == pytest.approx(sum(memorization[i] > 0.25 for i in top) / count)
        assert found.top_overlap == pytest.approx(found.precision)  # the same set, of the same size

    def test_a_perfect_score(self) -> None:
        memorization = np.linspace(0, 1, 50) ** 2
        found = agreement(3 * memorization, memorization)
        assert (found.pearson, found.spearman, found.cosine) == pytest.approx((1, 1, 1))
        assert (found.top_overlap, found.precision) == (1, 1)

    def test_a_score_that_is_constant(self) -> None:
        assert np.isnan(agreement(np.ones(9), np.linspace(0, 1, 9)).pearson)
