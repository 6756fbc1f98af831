"""Accuracy with given and with mended test labels."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.evaluation.mended import mended_accuracy


def test_by_hand() -> None:
    predicted = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    given = np.array([0, 1, 2, 1, 0, 2, 1, 2])
    mended = np.array([0, 1, -1, 0, 0, 1, -1, 2])
    found = mended_accuracy(predicted, given, mended, confidence=0.95)
    assert (found.given, found.mended) == (4 / 8, 3 / 6)
    assert found.difference.value == 0
    same = mended_accuracy(predicted, given, given, confidence=0.95)
    assert same.difference == (type(same.difference))(0, 0, 0)
    with pytest.raises(ValueError, match="every sample is removed"):
        mended_accuracy(predicted, given, np.full(8, -1), confidence=0.95)


def test_the_interval_is_that_of_the_bootstrap() -> None:
    draw = np.random.default_rng(0)
    given = draw.integers(0, 3, 600)
    predicted = np.where(draw.random(600) < 0.7, given, draw.integers(0, 3, 600))
    mended = np.where(draw.random(600) < 0.1, predicted, given)
    mended[draw.random(600) < 0.1] = -1
    differences = []
    for _ in range(2000):
        rows = draw.integers(0, 600, 600)
        stay = mended[rows] >= 0
        after = (predicted[rows] == mended[rows])[stay].mean()
        differences.append(after - (predicted[rows] == given[rows]).mean())
    found = mended_accuracy(predicted, given, mended, confidence=0.9).difference
    assert [found.low, found.high] == pytest.approx(np.quantile(differences, [0.05, 0.95]), abs=0.002)
