"""The evaluation, against pair counting, scikit-learn and small cases worked by hand."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from memtrack.core.evaluation.detection import (
    Flags,
    auroc,
    auroc_by_class,
    aurocs,
    compare,
    detection,
    found_after,
    paired_difference,
    roc_points,
    samples_needed,
)
from memtrack.core.evaluation.intervals import Values


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


def pairs_in_order(corrupted: Flags, values: Values) -> Values:
    """For each corrupted (row) and clean sample (column) 1 if the former scores higher, 1/2 if equal."""
    high, low = values[corrupted][:, None], values[~corrupted]
    return (high > low) + (high == low) / 2


def drawn_aurocs(corrupted: Flags, values: Values, resamples: int) -> Values:
    """The AUROC of sets of which the corrupted and the clean samples are drawn apart, always the same."""
    generator, above = np.random.default_rng(7), pairs_in_order(corrupted, values)
    m, k = above.shape
    rows, columns = (generator.multinomial(n, [1 / n] * n, resamples) / n for n in (m, k))
    return ((rows @ above) * columns).sum(axis=1)


class TestAuroc:
    @CASES
    def test_counts_pairs(self, kind: str) -> None:
        corrupted, values = made_case(kind)
        assert auroc(corrupted, values) == pytest.approx(counted_pairs(corrupted, values))

    def test_by_hand(self) -> None:
        """Pairs 3>1, 3>2, 2>1 and the tie 2=2: 3.5 of 4."""
        corrupted = np.array([True, False, True, False])
        assert auroc(corrupted, np.array([3.0, 1.0, 2.0, 2.0])) == pytest.approx(3.5 / 4)


class TestAurocs:
    def test_covariance_by_the_definition(self) -> None:
        """Placement by placement, as in DeLong's paper."""
        corrupted, first = made_case("distinct")
        scores = [first, made_case("ties")[1], made_case("all equal")[1], -first]
        found = aurocs(corrupted, scores)
        m, k = int(corrupted.sum()), int((~corrupted).sum())
        above = [pairs_in_order(corrupted, values) for values in scores]
        for one, other in itertools.product(range(4), repeat=2):
            a, b = found.values[one], found.values[other]
            s10 = sum((above[one][i].mean() - a) * (above[other][i].mean() - b) for i in range(m)) / (m - 1)
            s01 = sum((above[one][:, j].mean() - a) * (above[other][:, j].mean() - b) for j in range(k)) / (
                k - 1
            )
            assert found.covariance[one, other] == pytest.approx(s10 / m + s01 / k, abs=1e-15)
        assert found.values == pytest.approx([roc_auc_score(corrupted, values) for values in scores])

    def test_depend_on_the_order_of_the_scores_alone(self) -> None:
        corrupted, values = made_case("ties")
        found, stretched = (aurocs(corrupted, [some]) for some in (values, np.exp(5 * values)))
        assert found.values.tolist() == stretched.values.tolist()
        assert found.covariance.tolist() == stretched.covariance.tolist()

    def test_one_corrupted_sample(self) -> None:
        """Its shares of clean samples cannot vary; those of the three clean samples are 1, 0 and 1/2."""
        found = aurocs(np.array([False, True, False, False]), [np.array([1.0, 2.0, 3.0, 2.0])])
        assert found.values.tolist() == [0.5]
        assert found.covariance == pytest.approx(np.array([[0.25 / 3]]))

    def test_intervals_are_as_wide_as_the_bootstraps(self) -> None:
        """At 1,500 samples, of each score and of the difference, to .001."""
        generator = np.random.default_rng(0)
        corrupted = np.arange(1500) < 150
        first = generator.normal(size=1500) + 2.5 * corrupted
        second = first + generator.normal(size=1500) / 2
        found = aurocs(corrupted, [first, second])
        one, other = (drawn_aurocs(corrupted, values, 1000) for values in (first, second))
        widths = [interval.high - interval.low for interval in found.intervals(0.95)]
        widths += [interval.high - interval.low for interval in found.differences([(0, 1)], 0.95)]
        for width, drawn in zip(widths, (one, other, one - other), strict=True):
            low, high = np.quantile(drawn, [0.025, 0.975])
            assert width / 2 == pytest.approx((high - low) / 2, abs=0.001)

    def test_intervals_hold_the_truth_as_often_as_they_say(self) -> None:
        """Near 1, where normal intervals without the logit scale fail more often, and on one side."""
        generator, area = np.random.default_rng(0), 0.95
        corrupted = np.arange(240) < 60
        scores = generator.normal(size=(120, 240)) + norm.ppf(area) * 2**0.5 * corrupted
        found = aurocs(corrupted, list(scores))
        low, high = np.array([(one.low, one.high) for one in found.intervals(0.95)]).T
        steps = norm.ppf(0.975) * np.sqrt(found.covariance.diagonal())
        held = (low <= area) & (area <= high)
        above, below = found.values - steps > area, found.values + steps < area
        assert 0.92 < held.mean() < 0.98
        assert (above | below).sum() > (~held).sum()
        assert above.sum() > 3 * below.sum()


class TestDetection:
    @CASES
    @pytest.mark.parametrize("confidence", [0.5, 0.95])
    def test_fields(self, kind: str, confidence: float) -> None:
        corrupted, values = made_case(kind)
        found = detection(corrupted, values, confidence)
        [expected] = aurocs(corrupted, [values]).intervals(confidence)
        assert found.auroc == pytest.approx(roc_auc_score(corrupted, values))
        assert (found.auroc_low, found.auroc_high) == (expected.low, expected.high)
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
        found = detection(corrupted, np.array(values))
        assert found.precision_at_count == pytest.approx(expected)

    def test_precision_at_count_takes_the_first_of_many_ties(self) -> None:
        generator = np.random.default_rng(4)
        corrupted = generator.random(1000) < 0.3
        values = generator.integers(0, 3, 1000).astype(np.float64)
        top = sorted(range(1000), key=lambda sample: (-values[sample], sample))
        top = top[: corrupted.sum()]
        found = detection(corrupted, values)
        assert found.precision_at_count == pytest.approx(sum(corrupted[top]) / corrupted.sum())

    def test_average_precision_by_hand(self) -> None:
        """Corrupted samples in places 1, 3 and 4: the mean of 1/1, 2/3 and 3/4."""
        corrupted = np.array([True, False, True, True, False])
        values = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
        found = detection(corrupted, values)
        assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)

    def test_interval_holds_the_estimate_and_grows_with_confidence(self) -> None:
        corrupted, values = made_case("distinct", count=300)
        narrow, wide = (detection(corrupted, values, confidence) for confidence in (0.8, 0.99))
        assert wide.auroc_low < narrow.auroc_low < narrow.auroc
        assert narrow.auroc < narrow.auroc_high < wide.auroc_high

    def test_perfect_scores_leave_no_doubt(self) -> None:
        corrupted = np.arange(20) < 5
        found = detection(corrupted, -np.arange(20.0))
        assert (found.auroc_low, found.auroc, found.auroc_high) == (1, 1, 1)
        assert found.average_precision == pytest.approx(1)
        assert found.precision_at_count == 1

    @pytest.mark.parametrize("flag", [False, True])
    def test_both_kinds_are_needed(self, flag: bool) -> None:
        with pytest.raises(ValueError, match="of 6 samples are corrupted"):
            detection(np.full(6, flag), np.arange(6.0))


class TestCompare:
    @pytest.mark.parametrize("count", [60, 333])
    def test_precision_and_recall_of_the_first(self, count: int) -> None:
        corrupted, values = made_case("distinct", count)
        found = detection(corrupted, values)
        order = sorted(range(count), key=lambda sample: -values[sample])
        for percent in (1, 5, 10):
            hits = sum(corrupted[order[: max(1, round(count * percent / 100))]])
            looked = max(1, round(count * percent / 100))
            assert getattr(found, f"precision_first_{percent}") == pytest.approx(hits / looked)
            assert getattr(found, f"recall_first_{percent}") == pytest.approx(hits / corrupted.sum())

    def test_many_scores_are_judged_as_each_alone_and_as_each_pair(self) -> None:
        corrupted, first = made_case("distinct")
        scores = {"first": first, "ties": made_case("ties")[1], "noise": np.random.default_rng(0).random(60)}
        judged, differences = compare(corrupted, scores, 0.9)
        for name, values in scores.items():
            alone = detection(corrupted, values, 0.9)
            assert astuple(judged[name]) == pytest.approx(astuple(alone))
        assert len(differences) == 3
        for (better, worse), found in differences.items():
            assert judged[better].auroc >= judged[worse].auroc
            assert astuple(found) == pytest.approx(
                astuple(paired_difference(corrupted, scores[better], scores[worse], 0.9))
            )

    def test_a_paired_interval_is_narrower_than_two_that_overlap(self) -> None:
        """Two scores that err on the same samples: their own intervals overlap, the difference is clear."""
        corrupted, values = made_case("distinct", 2000)
        worse = values + 0.5 * np.random.default_rng(3).normal(size=2000)
        judged, differences = compare(corrupted, {"one": values, "other": worse}, 0.95)
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
    def test_both_scores_are_judged_on_the_same_samples(self) -> None:
        """As the AUROCs of one set of pairs minus those of the other, drawn together."""
        corrupted, first = made_case("distinct", 1000)
        second = first + np.random.default_rng(2).normal(size=1000) / 3
        drawn = drawn_aurocs(corrupted, first, 1000) - drawn_aurocs(corrupted, second, 1000)
        found = paired_difference(corrupted, first, second, 0.9)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])), abs=0.001)
        assert found.first == pytest.approx(roc_auc_score(corrupted, first))
        assert found.second == pytest.approx(roc_auc_score(corrupted, second))
        assert found.difference == pytest.approx(found.first - found.second)

    def test_a_score_is_no_better_than_itself(self) -> None:
        corrupted, values = made_case("distinct")
        found = paired_difference(corrupted, values, 2 * values, 0.95)
        assert (found.difference, found.low, found.high) == (0, 0, 0)


class TestSamplesNeeded:
    @pytest.mark.parametrize(
        ("kind", "error", "share"),
        [*itertools.product(["distinct", "ties"], [0.02], [0.05, 0.4, 0.95]), ("distinct", 0.01, 0.4)],
    )
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


def test_found_after_looking_at_so_many_is_the_mean_over_all_orders_of_ties() -> None:
    corrupted = np.array([True, False, True, False, True])
    values = np.array([2.0, 3.0, 2.0, 2.0, 1.0])
    orders = [
        order
        for order in itertools.permutations(range(5))
        if all(values[one] >= values[other] for one, other in itertools.pairwise(order))
    ]
    assert len(orders) == 6
    looked = np.arange(1, 6)
    expected = np.mean([np.cumsum(corrupted[list(order)]) for order in orders], axis=0)
    np.testing.assert_allclose(found_after(corrupted, values, looked), expected)
