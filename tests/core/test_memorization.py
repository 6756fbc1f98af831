"""Memorization and influence, against brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from memtrack.core.evaluation.agreement import MEASURES, agreements, disagreements
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


def measured(scores: np.ndarray, memorization: np.ndarray, least: float) -> list[float]:
    """The measures by scipy and by counting, each sample once, ties broken at random."""
    raised, size = scores - least, len(scores)
    top, memorized = max(1, round(0.05 * size)), (memorization > 0.25).sum()

    def chance(values: np.ndarray, count: float) -> np.ndarray:
        """Of each sample to be among the first `count`."""
        return np.array(
            [np.clip((count - (values > own).sum()) / (values == own).sum(), 0, 1) for own in values]
        )

    return [
        pearsonr(scores, memorization)[0],
        spearmanr(scores, memorization)[0],
        (raised * memorization).sum() / np.sqrt((raised**2).sum() * (memorization**2).sum()),
        (chance(scores, top) * chance(memorization, top)).sum() / top,
        (chance(scores, memorized) * (memorization > 0.25)).sum() / memorized,
    ]


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
        patched.setattr("memtrack.core.memorization.ELEMENTS", 30)
        found = influential_pairs(rows, members, correct, 12)
    listed = zip(-found.influence, found.train, found.test, found.standard_error, strict=True)
    assert list(listed) == expected[:12]
    assert len(expected) > 12
    for j in range(7):
        assert found.count[j] == sum(pair[2] == j for pair in expected)
        assert found.sure[j] == sum(pair[2] == j and -pair[0] > 4 * pair[3] for pair in expected)
    assert 0 < found.sure.sum() < len(expected)


def test_without_memorized_samples_nothing_is_influential() -> None:
    found = influential_pairs(np.empty(0, dtype=np.int64), np.ones((5, 0), bool), np.ones((5, 3), bool), 9)
    assert (len(found.train), found.count.tolist(), found.sure.tolist()) == (0, [0] * 3, [0] * 3)


class TestAgreement:
    """Of two scores with the memorization of 200 samples."""

    @pytest.fixture
    def memorization(self) -> np.ndarray:
        return np.random.default_rng(0).random(200) ** 4

    @pytest.fixture
    def scores(self, memorization: np.ndarray) -> dict[str, np.ndarray]:
        noise = np.random.default_rng(1)
        return {"far": -memorization + noise.normal(size=200), "near": memorization + noise.random(200) / 5}

    def test_measures(self, scores: dict[str, np.ndarray], memorization: np.ndarray) -> None:
        found, differences = agreements(scores, memorization, resamples=2, confidence=0.9, seed=0)
        by_hand = {name: measured(values, memorization, values.min()) for name, values in scores.items()}
        for name, expected in by_hand.items():
            assert [found[name][measure].value for measure in MEASURES] == pytest.approx(expected)
        assert list(differences) == [("near", "far")]
        for number, measure in enumerate(MEASURES):
            difference = by_hand["near"][number] - by_hand["far"][number]
            assert differences["near", "far"][measure].value == pytest.approx(difference)

    def test_intervals(self, scores: dict[str, np.ndarray], memorization: np.ndarray) -> None:
        """Each resample written out."""
        judged, differences = agreements(scores, memorization, resamples=40, confidence=0.9, seed=5)
        generator = np.random.Generator(np.random.PCG64(5))
        draws = []
        for _ in range(40):
            rows = generator.integers(0, 200, 200)
            draws.append([measured(values[rows], memorization[rows], values.min())
                          for values in scores.values()])  # fmt: skip
        for row, name in enumerate(scores):
            expected = np.quantile(np.array(draws)[:, row], [0.05, 0.95], axis=0)
            found = [(judged[name][measure].low, judged[name][measure].high) for measure in MEASURES]
            np.testing.assert_allclose(np.transpose(found), expected, atol=1e-9)
        paired = np.array(draws)[:, 1] - np.array(draws)[:, 0]
        low = np.quantile(paired, 0.05, axis=0)
        assert [differences["near", "far"][name].low for name in MEASURES] == pytest.approx(low.tolist())

    def test_a_perfect_score(self, memorization: np.ndarray) -> None:
        found, _ = agreements({"": 3 * memorization}, memorization, resamples=20, confidence=0.9, seed=0)
        least = 3 * memorization.min()
        assert [found[""][name].value for name in MEASURES] == pytest.approx([1] * 5, abs=least)
        assert found[""]["spearman"].low == pytest.approx(1)

    @pytest.mark.parametrize("constant", [1.0, 0.1])
    def test_a_score_that_is_constant(self, constant: float) -> None:
        scores = np.full(9, constant)
        found, _ = agreements({"": scores}, np.linspace(0, 1, 9), resamples=5, confidence=0.9, seed=0)
        assert [name for name in MEASURES if np.isnan(found[""][name].value)] == list(MEASURES[:3])
        assert found[""]["top_overlap"].value == pytest.approx(1 / 9)  # chance
        assert found[""]["precision"].value == pytest.approx(6 / 9)

    def test_the_order_of_samples_does_not_matter(self) -> None:
        draw = np.random.default_rng(3)
        memorization = np.round(draw.random(300) ** 8, 1)
        scores = {"few levels": draw.integers(0, 3, 300).astype(float), "zeros": np.zeros(300)}
        rows = draw.permutation(300)
        found, turned = (
            agreements({name: values[order] for name, values in scores.items()}, memorization[order],
                       resamples=1, confidence=0.9, seed=0)[0]
            for order in (np.arange(300), rows)
        )  # fmt: skip
        for name in scores:
            values = [found[name][measure].value for measure in MEASURES]
            assert values == pytest.approx([turned[name][measure].value for measure in MEASURES], nan_ok=True)

    def test_a_resample_without_memorized_samples_is_left_out(self) -> None:
        memorization = np.zeros(40)
        memorization[:2] = 1
        found, _ = agreements({"": memorization}, memorization, resamples=100, confidence=0.9, seed=0)
        assert found[""]["precision"].low == 1

    def test_nothing_memorized(self) -> None:
        few = np.linspace(0, 0.2, 30)
        found, _ = agreements({"": few}, few, resamples=5, confidence=0.9, seed=0)
        assert np.isnan(found[""]["precision"].value)
        assert found[""]["top_overlap"].value == pytest.approx(1)


def test_disagreements_are_found_as_one_would_by_hand() -> None:
    draw = np.random.default_rng(4)
    scores, memorization = draw.integers(0, 6, 60).astype(float), draw.choice([0, 0.1, 0.25, 0.3, 0.9], 60)
    memorization[draw.choice(60, 9, replace=False)] = np.nan
    memorization += 1e-6 * np.arange(60) * (memorization != 0.25)  # no two are the same but where 0.25
    high, low = disagreements(scores, memorization, 5)
    known = [row for row in range(60) if not np.isnan(memorization[row])]
    others = sorted((row for row in known if memorization[row] <= 0.25),
                    key=lambda row: (-scores[row], memorization[row]))  # fmt: skip
    missed = sorted((row for row in known if memorization[row] > 0.25),
                    key=lambda row: (scores[row], -memorization[row]))  # fmt: skip
    assert high.tolist() == others[:5]
    assert low.tolist() == missed[:5]
    assert all(len(rows) == 0 for rows in disagreements(scores, np.full(60, np.nan), 5))
