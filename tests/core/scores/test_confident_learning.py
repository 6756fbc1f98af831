"""Confident learning, against cleanlab."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.rank import get_label_quality_scores

from memtrack.core.labels.confident import confident_joint, confident_thresholds
from memtrack.core.scores import Need, compute
from memtrack.core.scores.halves import Halves


def noisy(samples: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels, 20% of them wrong, and probabilities that know the right ones fairly well."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, samples)
    logits = draw.normal(size=(samples, classes)) + 2 * np.eye(classes)[true] * np.arange(1, classes + 1)
    labels = np.where(draw.random(samples) < 0.2, draw.integers(0, classes, samples), true)
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def score(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    nothing = np.zeros(len(labels))
    halves = Halves(nothing, probabilities.copy(), labels, nothing)
    return compute("confident_learning", {Need.HALVES: halves})


def test_the_score_is_cleanlabs_adjusted_margin() -> None:
    labels, probabilities = noisy()
    theirs = get_label_quality_scores(
        labels, probabilities, method="normalized_margin", adjust_pred_probs=True
    )
    thresholds = get_confident_thresholds(labels, probabilities)
    assert confident_thresholds(labels, probabilities) == pytest.approx(thresholds)
    scale = 1 - thresholds.sum() + len(thresholds) * thresholds.max()  # they divide by it
    np.testing.assert_allclose(score(labels, probabilities) / scale, 1 - 2 * theirs, atol=1e-6)


def test_the_joint_is_cleanlabs() -> None:
    labels, probabilities = noisy()
    theirs = compute_confident_joint(labels, probabilities, calibrate=True)  # rounded
    found = confident_joint(labels, probabilities)
    np.testing.assert_allclose(found, theirs, atol=1)
    assert found.sum(axis=1) == pytest.approx(np.bincount(labels))
    assert found.sum() - found.trace() > 10


def test_a_class_without_samples() -> None:
    labels, probabilities = noisy()
    kept = labels != 2
    assert np.isfinite(score(labels[kept], probabilities[kept])).all()
    joint = confident_joint(labels[kept], probabilities[kept])
    assert joint[2].tolist() == [0, 0, 0, 0]
    assert joint[:, 2].tolist() == [0, 0, 0, 0]
