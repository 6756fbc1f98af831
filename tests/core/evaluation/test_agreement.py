"""Agreement of scores with memorization, against SciPy and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from memtrack.core.evaluation.agreement import CLOSED, MEASURES, agreements, disagreements
from memtrack.core.evaluation.bootstrap import Resampling


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


def correlations(scores: np.ndarray, memorization: np.ndarray) -> np.ndarray:
    """The correlation of each row of the one with the same row of the other."""
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (scores, memorization))
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


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
        found, differences = agreements(scores, memorization, Resampling(2, 0.9, 0))
        by_hand = {name: measured(values, memorization, values.min()) for name, values in scores.items()}
        for name, expected in by_hand.items():
            assert [found[name][measure].value for measure in MEASURES] == pytest.approx(expected)
        assert list(differences) == [("near", "far")]
        for number, measure in enumerate(MEASURES):
            difference = by_hand["near"][number] - by_hand["far"][number]
            assert differences["near", "far"][measure].value == pytest.approx(difference)

    def test_intervals_are_those_of_the_plain_bootstrap(self) -> None:
        """Of heavy tails and of ties, and of the difference of the two."""
        size, generator = 500, np.random.default_rng(5)
        memorization = generator.random(size) ** 4
        scores = {
            "heavy": np.exp(memorization + generator.normal(size=size) / 2),
            "ties": np.floor(5 * memorization + generator.normal(size=size)),
        }
        judged, differences = agreements(scores, memorization, Resampling(10, 0.9, 0))
        rows = generator.integers(0, size, (800, size))
        truth, drawn = memorization[rows], {}
        for name, values in scores.items():
            seen, raised = values[rows], (values - values.min())[rows]
            drawn[name] = {
                "pearson": correlations(seen, truth),
                "spearman": correlations(rankdata(seen, axis=1), rankdata(truth, axis=1)),
                "cosine": (raised * truth).sum(1) / np.sqrt((raised**2).sum(1) * (truth**2).sum(1)),
            }
        [((better, worse), paired)] = differences.items()
        for measure in CLOSED:
            cases = [(judged[name][measure], drawn[name][measure]) for name in scores]
            cases.append((paired[measure], drawn[better][measure] - drawn[worse][measure]))
            for found, values in cases:
                low, high = np.quantile(values, [0.05, 0.95])
                assert found.high - found.low == pytest.approx(high - low, rel=0.1)
                assert found.low == pytest.approx(low, abs=0.1 * (high - low))

    def test_with_many_samples_the_intervals_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of top_overlap and precision are drawn from subsets then."""
        generator = np.random.default_rng(6)
        memorization = generator.random(2000) ** 4
        scores = {"": memorization + generator.normal(size=2000) / 5}
        whole, _ = agreements(scores, memorization, Resampling(200, 0.9, 0))
        monkeypatch.setattr("memtrack.core.evaluation.bootstrap.LARGE", 1000)
        parts, _ = agreements(scores, memorization, Resampling(600, 0.9, 0))
        for name in MEASURES:
            one, other = whole[""][name], parts[""][name]
            assert one.value == other.value
            assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.3)
            assert other.low == pytest.approx(one.low, abs=0.2 * (one.high - one.low))

    def test_a_perfect_score(self, memorization: np.ndarray) -> None:
        found, _ = agreements({"": 3 * memorization}, memorization, Resampling(20, 0.9, 0))
        least = 3 * memorization.min()
        assert [found[""][name].value for name in MEASURES] == pytest.approx([1] * 5, abs=least)
        assert found[""]["spearman"].low == pytest.approx(1)

    @pytest.mark.parametrize("constant", [1.0, 0.1])
    def test_a_score_that_is_constant(self, constant: float) -> None:
        scores = np.full(9, constant)
        found, _ = agreements({"": scores}, np.linspace(0, 1, 9), Resampling(5, 0.9, 0))
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
                       Resampling(1, 0.9, 0))[0]
            for order in (np.arange(300), rows)
        )  # fmt: skip
        for name in scores:
            values = [found[name][measure].value for measure in MEASURES]
            assert values == pytest.approx([turned[name][measure].value for measure in MEASURES], nan_ok=True)

    def test_a_resample_without_memorized_samples_is_left_out(self) -> None:
        memorization = np.zeros(40)
        memorization[:2] = 1
        found, _ = agreements({"": memorization}, memorization, Resampling(100, 0.9, 0))
        assert found[""]["precision"].low == 1

    def test_nothing_memorized(self) -> None:
        few = np.linspace(0, 0.2, 30)
        found, _ = agreements({"": few}, few, Resampling(5, 0.9, 0))
        assert np.isnan(found[""]["precision"].value)
        assert np.isnan([found[""]["precision"].low, found[""]["precision"].high]).all()
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
