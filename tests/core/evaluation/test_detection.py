"""The evaluation, against pair counting, scikit-learn and small cases worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from memtrack.core.evaluation.bootstrap import Resampling, Values
from memtrack.core.evaluation.detection import (
    Flags,
    _bootstrap_aurocs,
    auroc,
    auroc_by_class,
    compare,
    detection,
    paired_difference,
    roc_points,
    samples_needed,
)


def made_case(kind: str, count: int = 60) -> tuple[Flags, Values]:
    """Scores that tell about a quarter of the samples apart, not perfectly."""
    generator = np.random.default_rng(12)
    corrupted = generator.random(count) < 0.25
    values = generator.normal(size=count) + 0.8 * corrupted
    if kind == "ties":
        values = np.round(values)
    if kind == "all equal":
        values = np.zeros(count)
    return corrupted, values


CASES = pytest.mark.parametrize("kind", ["distinct", "ties", "all equal"])


def counted_pairs(corrupted: Flags, values: Values) -> float:
    """The share of (corrupted, clean) pairs in the right order; a tie is half a pair."""
    pairs = list(itertools.product(values[corrupted], values[~corrupted]))
    return sum((high > low) + (high == low) / 2 for high, low in pairs) / len(pairs)


def drawn_aurocs(corrupted: Flags, values: Values, resamples: int, seed: int) -> list[float]:
    """The AUROC (scikit-learn) of sets that are drawn one by one: the corrupted, then the clean."""
    generator = np.random.Generator(np.random.PCG64(seed))
    positive, negative = values[corrupted], values[~corrupted]
    found = []
    for _ in range(resamples):
        one = positive[generator.integers(0, len(positive), len(positive))]
        zero = negative[generator.integers(0, len(negative), len(negative))]
        truth = [1] * len(one) + [0] * len(zero)
        found.append(roc_auc_score(truth, np.concatenate([one, zero])))
    return found


class TestAuroc:
    @CASES
    def test_counts_pairs(self, kind: str) -> None:
        corrupted, values = made_case(kind)
        assert auroc(corrupted, values) == pytest.approx(counted_pairs(corrupted, values))

    def test_by_hand(self) -> None:
        """Pairs 3>1, 3>2, 2>1 and the tie 2=2: 3.5 of 4."""
        corrupted = np.array([True, False, True, False])
        assert auroc(corrupted, np.array([3.0, 1.0, 2.0, 2.0])) == pytest.approx(3.5 / 4)


class TestBootstrap:
    @CASES
    @pytest.mark.parametrize("seed", [0, 9])
    def test_each_value_is_the_auroc_of_a_drawn_set(self, kind: str, seed: int) -> None:
        corrupted, values = made_case(kind)
        (found,) = _bootstrap_aurocs(corrupted, [values], Resampling(40, 0.95, seed)).T
        assert found.shape == (40,)
        np.testing.assert_allclose(found, drawn_aurocs(corrupted, values, 40, seed), atol=1e-12)

    def test_depends_on_the_order_of_the_scores_alone(self) -> None:
        corrupted, values = made_case("ties")
        (found,) = _bootstrap_aurocs(corrupted, [values], Resampling(20, 0.95, 1)).T
        (stretched,) = _bootstrap_aurocs(corrupted, [np.exp(5 * values)], Resampling(20, 0.95, 1)).T
        assert found.tolist() == stretched.tolist()

    def test_one_corrupted_sample(self) -> None:
        corrupted = np.array([False, True, False, False])
        values = np.array([1.0, 2.0, 3.0, 2.0])
        (found,) = _bootstrap_aurocs(corrupted, [values], Resampling(30, 0.95, 2)).T
        np.testing.assert_allclose(found, drawn_aurocs(corrupted, values, 30, 2), atol=1e-12)


class TestDetection:
    @CASES
    @pytest.mark.parametrize("confidence", [0.5, 0.95])
    def test_fields(self, kind: str, confidence: float) -> None:
        corrupted, values = made_case(kind)
        found = detection(corrupted, values, Resampling(40, confidence, 3))
        draws = drawn_aurocs(corrupted, values, 40, 3)
        assert found.auroc == pytest.approx(roc_auc_score(corrupted, values))
        assert found.auroc_low == pytest.approx(np.percentile(draws, 50 - 50 * confidence))
        assert found.auroc_high == pytest.approx(np.percentile(draws, 50 + 50 * confidence))
        assert found.average_precision == pytest.approx(average_precision_score(corrupted, values))

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([9.0, 8.0, 7.0, 1.0, 2.0, 3.0], 2 / 3),
            ([9.0, 1.0, 8.0, 7.0, 2.0, 3.0], 3 / 3),
            ([1.0, 9.0, 2.0, 3.0, 8.0, 7.0], 0 / 3),
            ([5.0, 5.0, 5.0, 5.0, 5.0, 5.0], 2 / 3),
        ],
        ids=["two of three", "perfect", "upside down", "ties in id order"],
    )
    def test_precision_at_count_by_hand(self, values: list[float], expected: float) -> None:
        corrupted = np.array([True, False, True, True, False, False])
        found = detection(corrupted, np.array(values), Resampling(5, 0.9, 0))
        assert found.precision_at_count == pytest.approx(expected)

    def test_precision_at_count_takes_the_first_of_many_ties(self) -> None:
        generator = np.random.default_rng(4)
        corrupted = generator.random(1000) < 0.3
        values = generator.integers(0, 3, 1000).astype(np.float64)
        top = sorted(range(1000), key=lambda sample: (-values[sample], sample))
        top = top[: corrupted.sum()]
        found = detection(corrupted, values, Resampling(5, 0.9, 0))
        assert found.precision_at_count == pytest.approx(sum(corrupted[top]) / corrupted.sum())

    def test_average_precision_by_hand(self) -> None:
        """Corrupted samples in places 1, 3 and 4: the mean of 1/1, 2/3 and 3/4."""
        corrupted = np.array([True, False, True, True, False])
        values = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
        found = detection(corrupted, values, Resampling(5, 0.9, 0))
        assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)

    def test_interval_holds_the_estimate_and_grows_with_confidence(self) -> None:
        corrupted, values = made_case("distinct", count=300)
        narrow, wide = (
            detection(corrupted, values, Resampling(300, confidence, 0)) for confidence in (0.8, 0.99)
        )
        assert wide.auroc_low < narrow.auroc_low < narrow.auroc
        assert narrow.auroc < narrow.auroc_high < wide.auroc_high

    def test_perfect_scores_leave_no_doubt(self) -> None:
        corrupted = np.arange(20) < 5
        found = detection(corrupted, -np.arange(20.0), Resampling(20, 0.95, 0))
        assert (found.auroc_low, found.auroc, found.auroc_high) == (1, 1, 1)
        assert found.average_precision == pytest.approx(1)
        assert found.precision_at_count == 1

    @pytest.mark.parametrize("flag", [False, True])
    def test_both_kinds_are_needed(self, flag: bool) -> None:
        with pytest.raises(ValueError, match="of 6 samples are corrupted"):
            detection(np.full(6, flag), np.arange(6.0), Resampling(5, 0.9, 0))


class TestCompare:
    @pytest.mark.parametrize("count", [60, 333])
    def test_precision_and_recall_of_the_first(self, count: int) -> None:
        corrupted, values = made_case("distinct", count)
        found = detection(corrupted, values, Resampling(5, 0.9, 0))
        order = sorted(range(count), key=lambda sample: -values[sample])
        for percent in (1, 5, 10):
            hits = sum(corrupted[order[: max(1, round(count * percent / 100))]])
            looked = max(1, round(count * percent / 100))
            assert getattr(found, f"precision_first_{percent}") == pytest.approx(hits / looked)
            assert getattr(found, f"recall_first_{percent}") == pytest.approx(hits / corrupted.sum())

    def test_many_scores_are_judged_as_each_alone_and_as_each_pair(self) -> None:
        corrupted, first = made_case("distinct")
        scores = {"first": first, "ties": made_case("ties")[1], "noise": np.random.default_rng(0).random(60)}
        judged, differences = compare(corrupted, scores, Resampling(30, 0.9, 2))
        for name, values in scores.items():
            assert judged[name] == detection(corrupted, values, Resampling(30, 0.9, 2))
        assert len(differences) == 3
        for (better, worse), found in differences.items():
            assert judged[better].auroc >= judged[worse].auroc
            assert found == paired_difference(
                corrupted, scores[better], scores[worse], Resampling(30, 0.9, 2)
            )

    def test_a_paired_interval_is_narrower_than_two_that_overlap(self) -> None:
        """Two scores that err on the same samples: their own intervals overlap, the difference is clear."""
        corrupted, values = made_case("distinct", 2000)
        worse = values + 0.5 * np.random.default_rng(3).normal(size=2000)
        judged, differences = compare(corrupted, {"one": values, "other": worse}, Resampling(200, 0.95, 0))
        assert judged["one"].auroc_low < judged["other"].auroc_high
        assert differences["one", "other"].low > 0


class TestByClass:
    def test_each_class_on_its_own(self) -> None:
        corrupted, values = made_case("ties", 300)
        labels = np.random.default_rng(1).integers(0, 4, 300)
        found = auroc_by_class(corrupted, values, labels, classes=5)
        for number in range(4):
            members = labels == number
            assert found[number] == pytest.approx(roc_auc_score(corrupted[members], values[members]))
        assert np.isnan(found[4])

    def test_a_class_of_one_kind_has_none(self) -> None:
        corrupted, labels = np.array([True, False, False, False]), np.array([0, 0, 1, 1])
        found = auroc_by_class(corrupted, np.array([3.0, 2.0, 1.0, 0.0]), labels, classes=2)
        assert found[0] == 1
        assert np.isnan(found[1])


class TestRocPoints:
    def test_by_hand(self) -> None:
        """From the top: corrupted, clean, two tied of each kind, clean."""
        corrupted = np.array([True, False, True, False, False])
        false_positive, true_positive = roc_points(corrupted, np.array([9.0, 8.0, 5.0, 5.0, 1.0]))
        assert false_positive == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
        assert true_positive == pytest.approx([0, 1 / 2, 1 / 2, 1, 1])

    @CASES
    def test_the_area_below_is_the_auroc(self, kind: str) -> None:
        corrupted, values = made_case(kind)
        false_positive, true_positive = roc_points(corrupted, values)
        area = np.trapezoid(true_positive, false_positive)
        assert area == pytest.approx(counted_pairs(corrupted, values))


class TestPairs:
    def test_both_scores_are_judged_on_the_same_resamples(self) -> None:
        corrupted, first = made_case("distinct")
        _, second = made_case("ties")
        generator = np.random.Generator(np.random.PCG64(4))
        positive, negative = np.flatnonzero(corrupted), np.flatnonzero(~corrupted)
        differences = []
        for _ in range(200):
            rows = np.concatenate(
                [some[generator.integers(0, len(some), len(some))] for some in (positive, negative)]
            )
            one, other = (roc_auc_score(corrupted[rows], values[rows]) for values in (first, second))
            differences.append(one - other)
        found = paired_difference(corrupted, first, second, Resampling(200, 0.9, 4))
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])))
        assert found.first == pytest.approx(roc_auc_score(corrupted, first))
        assert found.second == pytest.approx(roc_auc_score(corrupted, second))
        assert found.difference == pytest.approx(found.first - found.second)

    def test_a_score_is_no_better_than_itself(self) -> None:
        corrupted, values = made_case("distinct")
        found = paired_difference(corrupted, values, 2 * values, Resampling(50, 0.95, 0))
        assert (found.difference, found.low, found.high) == (0, 0, 0)


class TestSamplesNeeded:
    @pytest.mark.parametrize("kind", ["distinct", "ties"])
    @pytest.mark.parametrize("error", [0.01, 0.02])
    @pytest.mark.parametrize("share", [0.05, 0.4, 0.95])
    def test_so_many_drawn_at_random_have_the_standard_error(
        self, kind: str, error: float, share: float
    ) -> None:
        draw = np.random.default_rng(1)
        corrupted = np.arange(2000) < share * 2000
        values = draw.normal(size=2000) + corrupted
        if kind == "ties":
            values = values.round()
        wanted = samples_needed(corrupted, values, error)
        groups = np.flatnonzero(corrupted), np.flatnonzero(~corrupted)
        assert all(1 < count <= len(rows) for count, rows in zip(wanted, groups, strict=True))
        assert sum(wanted) < 2000
        first, second = (values[rows][:, None] for rows in groups)
        above = (first > second.T) + (first == second.T) / 2  # the AUROC is the mean over all pairs
        found = []
        for _ in range(400):
            m, k = (draw.permutation(len(rows))[:count] for count, rows in zip(wanted, groups, strict=True))
            found.append(above[np.ix_(m, k)].mean())
        assert np.std(found) == pytest.approx(error, rel=0.15)
        assert np.mean(found) == pytest.approx(roc_auc_score(corrupted, values), abs=error / 5)

    def test_fewer_of_both_would_not_do(self) -> None:
        """No other split of as many samples has a smaller standard error, by the formula itself."""
        draw = np.random.default_rng(2)
        corrupted = np.arange(3000) < 1000
        values = draw.normal(size=3000) + corrupted * draw.random(3000) * 3
        m, k = samples_needed(corrupted, values, 0.01)
        above = (values[corrupted][:, None] > values[~corrupted]).astype(float)
        v, w = above.mean(1).var(ddof=1), above.mean(0).var(ddof=1)
        splits = np.arange(2, m + k - 1)
        errors = v * (1 / splits - 1 / 1000) + w * (1 / (m + k - splits) - 1 / 2000)
        assert abs(splits[errors.argmin()] - m) <= 1
        assert errors.min() == pytest.approx(0.01**2, rel=0.01)

    def test_no_more_than_there_are_and_one_where_all_are_alike(self) -> None:
        corrupted, values = made_case("distinct")
        assert samples_needed(corrupted, values, 1e-9) == (corrupted.sum(), (~corrupted).sum())
        assert samples_needed(corrupted, corrupted.astype(float), 0.01) == (1, 1)

    def test_one_corrupted_sample(self) -> None:
        values = np.random.default_rng(3).normal(size=500)
        assert samples_needed(np.arange(500) == 3, values, 0.01)[0] == 1
