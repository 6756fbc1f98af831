"""Label noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.metrics import confusion_matrix

from memtrack.core.noise import Labels, symmetric, transition_counts


def made_labels(count: int, classes: int) -> Labels:
    return np.random.default_rng(count).integers(0, classes, count)


class TestSymmetric:
    @pytest.mark.parametrize(
        ("count", "rate", "expected"),
        [
            (10, 0.0, 0),
            (10, 0.1, 1),
            (7, 0.3, 2),
            (1000, 0.333, 333),
            (3, 0.9, 3),
            (200, 0.999, 200),
            (0, 0.5, 0),
        ],
    )
    @pytest.mark.parametrize("classes", [2, 3, 10])
    @pytest.mark.parametrize("seed", [0, 1, 2**40])
    def test_changes_an_exact_count(
        self, count: int, rate: float, expected: int, classes: int, seed: int
    ) -> None:
        labels = made_labels(count, classes)
        given = symmetric(labels, classes=classes, rate=rate, seed=seed)
        assert given.shape == labels.shape
        assert given.dtype == np.int64
        assert (given != labels).sum() == expected
        assert ((given >= 0) & (given < classes)).all()

    def test_two_classes_are_swapped(self) -> None:
        labels = made_labels(200, 2)
        given = symmetric(labels, classes=2, rate=0.5, seed=3)
        changed = given != labels
        assert changed.sum() == 100
        assert (given[changed] == 1 - labels[changed]).all()

    @pytest.mark.parametrize("classes", [3, 10])
    def test_other_classes_are_equally_likely(self, classes: int) -> None:
        labels = made_labels(60_000, classes)
        given = symmetric(labels, classes=classes, rate=0.5, seed=17)
        for label in range(classes):
            counts = np.bincount(given[(labels == label) & (given != labels)], minlength=classes)
            assert counts[label] == 0
            assert chisquare(np.delete(counts, label)).pvalue > 1e-3

    def test_samples_are_equally_likely(self) -> None:
        """Whatever their place and their class."""
        labels = made_labels(50_000, 5)
        changed = symmetric(labels, classes=5, rate=0.2, seed=23) != labels
        for group in (np.arange(50_000) // 5_000, labels):
            size = np.bincount(group)
            found = np.bincount(group[changed])
            assert chisquare(found, 0.2 * size).pvalue > 1e-3

    def test_pinned(self) -> None:
        """The same on every machine and for every release of the code."""
        labels = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
        given = symmetric(labels, classes=4, rate=0.5, seed=2024)
        assert given.tolist() == [0, 1, 3, 2, 0, 0, 2, 0, 0, 1, 3, 1]

    def test_fixed_by_the_seed(self) -> None:
        labels = made_labels(500, 10)
        one, again, other = (symmetric(labels, classes=10, rate=0.3, seed=seed) for seed in (5, 5, 6))
        assert (one == again).all()
        assert (one != other).any()

    @pytest.mark.parametrize("rate", [0.0, 0.4])
    def test_input_is_not_modified(self, rate: float) -> None:
        labels = made_labels(100, 5)
        before = labels.copy()
        given = symmetric(labels, classes=5, rate=rate, seed=0)
        assert (labels == before).all()
        assert not np.shares_memory(labels, given)

    @pytest.mark.parametrize(
        ("classes", "rate", "message"),
        [
            (5, -0.1, "rate"),
            (5, 1.0, "rate"),
            (5, float("nan"), "rate"),
            (1, 0.1, "classes"),
            (0, 0.1, "classes"),
        ],
    )
    def test_out_of_range(self, classes: int, rate: float, message: str) -> None:
        with pytest.raises(ValueError, match=f"^{message}"):
            symmetric(np.zeros(10, dtype=np.int64), classes=classes, rate=rate, seed=0)


class TestTransitionCounts:
    @pytest.mark.parametrize("classes", [2, 5, 12])
    def test_is_the_confusion_matrix(self, classes: int) -> None:
        clean = made_labels(400, classes)
        given = np.random.default_rng(1).integers(0, classes, 400)
        found = transition_counts(clean, given, classes=classes)
        expected = confusion_matrix(clean, given, labels=np.arange(classes))
        assert (expected != expected.T).any()
        assert (found == expected).all()

    def test_classes_that_do_not_occur_have_a_row(self) -> None:
        clean, given = np.array([0, 0, 2]), np.array([2, 2, 0])
        expected = [[0, 0, 2, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
        assert transition_counts(clean, given, classes=4).tolist() == expected
