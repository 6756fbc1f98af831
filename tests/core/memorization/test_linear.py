"""What last layers memorize, against every leave-one-out solved by another solver."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from memtrack.core.memorization.linear import linear_memorization
from memtrack.core.memorization.subsets import subset

Floats = NDArray[np.float64]
SAMPLES, CLASSIFIERS = 12, 150


def solved(features: Floats, labels: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which samples the logistic regression on the kept ones gives their label, of two classes."""
    spread = features[kept].std(0)
    scaled = (features - features[kept].mean(0)) / np.where(spread > 0, spread, 1)
    signs = np.where(labels[kept] == 1, 1.0, -1.0)

    def objective(weights: Floats) -> float:
        margins = signs * (scaled[kept] @ weights[:-1] + weights[-1])
        return float(np.logaddexp(0, -margins).sum() + (weights[:-1] ** 2).sum() / 2)

    best = minimize(objective, np.zeros(features.shape[1] + 1), tol=1e-10).x
    return (scaled @ best[:-1] + best[-1] > 0) == (labels == 1)


@pytest.mark.parametrize("private", [False, True], ids=["shared features", "a feature of its own"])
def test_every_leave_one_out(private: bool) -> None:
    """A wrong label is memorized by a last layer only if the sample has a feature of its own."""
    draw = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % 2
    features = draw.normal(size=(SAMPLES, 2)) + 3.0 * labels[:, None]
    labels[0] = 1 - labels[0]
    if private:
        features = np.column_stack([features, 20.0 * np.eye(SAMPLES)[0], 3 * draw.normal(size=SAMPLES)])
    share = (SAMPLES - 1) / SAMPLES
    right = np.stack([solved(features, labels, np.arange(SAMPLES) != left) for left in range(SAMPLES)])
    drawn = [int((~subset(SAMPLES, k, share=share, seed=3)).argmax()) for k in range(CLASSIFIERS)]
    times = np.bincount(drawn, minlength=SAMPLES)
    assert times.min() > 0
    inside = (times @ right - times * right.diagonal()) / (CLASSIFIERS - times)
    counts = linear_memorization(features.astype(np.float32), labels, range(CLASSIFIERS), share=share, seed=3)
    assert counts.trained[1].tolist() == times.tolist()
    np.testing.assert_allclose(counts.memorization, inside - right.diagonal(), atol=1e-12)
    assert counts.memorization[0] == pytest.approx(1.0 if private else 0.0)


def test_subsets_with_one_class() -> None:
    features = np.zeros((4, 1), dtype=np.float32)
    counts = linear_memorization(features, np.array([0, 0, 0, 1]), range(40), share=0.25)
    assert counts.right[1, 3] == 0  # another one is the only sample, and gives its class
    assert counts.right[0, 3] == counts.trained[0, 3] > 0
