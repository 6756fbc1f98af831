"""Agreement of scores with memorization, against SciPy and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from memtrack.core.evaluation.agreement import MEASURES, agreements, disagreements
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

    def test_intervals(self, scores: dict[str, np.ndarray], memorization: np.ndarray) -> None:
        """Each resample written out."""
        judged, differences = agreements(scores, memorization, Resampling(40, 0.9, 5))
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
