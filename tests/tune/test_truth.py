"""What scores are held against."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.tune.truth import Corruption, Memorization, Truth

DRAW = np.random.default_rng(0)
FLAGS = DRAW.random(300) < 0.3
VALUES = DRAW.random(300) ** 3
GOOD, BAD = VALUES + FLAGS + DRAW.random(300), DRAW.random(300)


@pytest.mark.parametrize("truth", [Corruption(FLAGS), Memorization(VALUES)])
def test_values_and_differences(truth: Truth) -> None:
    expected = [
        roc_auc_score(FLAGS, scores) if truth.key == "auroc" else pearsonr(scores, VALUES)[0]
        for scores in (GOOD, BAD)
    ]
    assert [truth.value(GOOD), truth.value(BAD)] == pytest.approx(expected)
    found = truth.difference(GOOD, BAD, Resampling(300, 0.9, 1))
    turned = truth.difference(BAD, GOOD, Resampling(300, 0.9, 1))
    assert (found.first, found.second) == pytest.approx(expected)
    assert found.difference == pytest.approx(expected[0] - expected[1])
    assert 0 < found.low < found.difference < found.high
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    rows = np.arange(0, 300, 3)
    assert (truth.of(rows).flags == truth.flags[rows]).all()


def test_scores_that_are_all_the_same() -> None:
    same = np.full(300, 0.1)
    assert Memorization(VALUES).value(same) == 0
    found = Memorization(VALUES).difference(same, GOOD, Resampling(9, 0.9, 1))
    assert (found.first, found.low, found.high) == (0, -1, 1)
