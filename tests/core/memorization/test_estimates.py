"""Memorization and influence, against brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from memtrack.core.memorization.estimates import Counts, influence, influential_pairs


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


def test_the_largest_influential_pairs() -> None:
    """Against all pairs in a row, of which only a few are in memory at once."""
    draw = np.random.default_rng(4)
    members = draw.random((40, 30)) < 0.7
    correct = draw.random((40, 7)) < np.where(members[:, :7], 0.9, 0.3)
    rows = np.sort(draw.permutation(100)[:30])
    values, errors = influence(members, correct)
    expected = sorted(
        (-values[i, j], rows[i], j, errors[i, j])
        for i, j in itertools.product(range(30), range(7))
        if values[i, j] > 0.15
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("memtrack.core.memorization.estimates.BLOCK", 4)
        found = influential_pairs(rows, members, correct, 12)
    listed = zip(-found.influence, found.train, found.test, found.standard_error, strict=True)
    assert list(listed) == expected[:12]
    assert len(expected) > 12
    for j in range(7):
        assert found.count[j] == sum(pair[2] == j for pair in expected)
        assert found.sure[j] == sum(pair[2] == j and -pair[0] > 4 * pair[3] for pair in expected)
    assert 0 < found.sure.sum() < len(expected)


@pytest.mark.parametrize("networks", [8, 20, 200])
def test_no_influential_pair_is_missed(networks: int) -> None:
    """Also with test samples that all networks predict correctly, or none, and with samples that all networks
    were trained on, or none. With 20 networks many influences are 0.15 but for rounding."""
    draw = np.random.default_rng(networks)
    members = draw.random((networks, 40)) < np.concatenate([[0, 1], np.full(38, 0.5)])
    correct = draw.random((networks, 60)) < np.linspace(0, 1, 60)
    correct[:, 20:40] &= members[:, 10:30]
    with np.errstate(invalid="ignore"):
        expected = influence(members, correct)[0] > 0.15
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("memtrack.core.memorization.estimates.BLOCK", 16)
        found = influential_pairs(np.arange(40), members, correct, 40 * 60)
    assert found.count.tolist() == expected.sum(axis=0).tolist()
    assert set(zip(found.train.tolist(), found.test.tolist(), strict=True)) == set(
        zip(*(ends.tolist() for ends in np.nonzero(expected)), strict=True)
    )
    assert (expected.sum(axis=0) == 0).any()


def test_without_memorized_samples_nothing_is_influential() -> None:
    found = influential_pairs(np.empty(0, dtype=np.int64), np.ones((5, 0), bool), np.ones((5, 3), bool), 9)
    assert (len(found.train), found.count.tolist(), found.sure.tolist()) == (0, [0] * 3, [0] * 3)
