"""Label noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare
from sklearn.metrics import confusion_matrix

from memtrack.core.labels.noise import (
    Labels,
    Pixels,
    class_distances,
    conflicting_duplicates,
    confusion,
    instance_dependent,
    pair,
    random_labels,
    symmetric,
    transition_counts,
)


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


class TestPair:
    @pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (0.3, 300), (0.45, 450)])
    def test_an_exact_count_gets_the_partners_label(self, rate: float, expected: int) -> None:
        labels, partners = made_labels(1000, 4), np.array([2, 3, 1, 0])
        given = pair(labels, partners=partners, rate=rate, seed=1)
        changed = given != labels
        assert changed.sum() == expected
        assert (given[changed] == partners[labels[changed]]).all()

    def test_a_class_without_partner_stays(self) -> None:
        labels = made_labels(1000, 4)
        given = pair(labels, partners=np.array([1, 1, 2, 0]), rate=0.5, seed=1)
        changed = given != labels
        assert changed.sum() == round(0.5 * np.isin(labels, [0, 3]).sum())
        assert set(zip(labels[changed].tolist(), given[changed].tolist(), strict=True)) == {(0, 1), (3, 0)}

    def test_pinned(self) -> None:
        labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
        given = pair(labels, partners=np.array([1, 2, 0]), rate=0.3, seed=7)
        assert given.tolist() == PINNED["pair"]


class TestConfusion:
    def test_the_shares_of_each_row(self) -> None:
        matrix = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
        labels = made_labels(60_000, 3)
        counts = transition_counts(labels, confusion(labels, matrix=matrix, seed=3), classes=3)
        assert counts[1].tolist() == [0, counts[1].sum(), 0]
        for row in (0, 2):
            assert chisquare(counts[row], matrix[row] * counts[row].sum()).pvalue > 1e-3

    @pytest.mark.parametrize("column", [0, 1, 2])
    def test_a_row_with_a_single_label(self, column: int) -> None:
        matrix = np.zeros((3, 3))
        matrix[:, column] = 1
        assert (confusion(made_labels(500, 3), matrix=matrix, seed=0) == column).all()

    def test_a_row_that_misses_one_by_rounding(self) -> None:
        """The last boundary is open: no draw is beyond it."""
        matrix = np.array([[1 - 1e-7, 0.0], [0.5, 0.5]])
        assert set(confusion(np.zeros(100_000, dtype=np.int64), matrix=matrix, seed=0)) <= {0, 1}

    @pytest.mark.parametrize(
        ("matrix", "message"),
        [([[1.0, 0.0]], "square"), ([[0.5, 0.4], [0.0, 1.0]], "row 1"), ([[1, 0], [1.5, -0.5]], "row 2")],
    )
    def test_out_of_range(self, matrix: list[list[float]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            confusion(np.zeros(3, dtype=np.int64), matrix=np.array(matrix), seed=0)


def test_random_labels_say_nothing_of_the_label() -> None:
    labels = made_labels(50_000, 5)
    given = random_labels(labels, classes=5, seed=2)
    counts = transition_counts(labels, given, classes=5)
    assert chi2_contingency(counts).pvalue > 1e-3
    assert chisquare(counts.sum(axis=0)).pvalue > 1e-3


class TestInstanceDependent:
    """Two classes that differ in brightness: who lies between them is hard."""

    @pytest.fixture
    def images(self) -> Pixels:
        brightness = np.random.default_rng(0).integers(0, 200, 4000)
        return np.repeat(brightness, 256).reshape(-1, 1, 16, 16).astype(np.uint8)

    def test_distances_are_those_to_the_mean_image(self) -> None:
        generator = np.random.default_rng(1)
        images = generator.integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
        labels = generator.integers(0, 3, 50)
        flat = images.reshape(50, -1).astype(np.float64)
        brute = [[((x - flat[labels == c].mean(axis=0)) ** 2).sum() for c in range(3)] for x in flat]
        found = class_distances(lambda: np.array_split(images, 7), labels, classes=4)
        assert found[:, :3] == pytest.approx(np.array(brute))
        assert np.isinf(found[:, 3]).all()

    def test_images_are_shrunk_to_fields(self) -> None:
        images = np.random.default_rng(2).integers(0, 256, (5, 1, 32, 24), dtype=np.uint8)
        fields = np.floor(images.reshape(5, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(5, -1))
        brute = [[((x - y) ** 2).sum() for y in fields] for x in fields]
        found = class_distances(lambda: [images], np.arange(5), classes=5)
        assert found == pytest.approx(np.array(brute))

    def test_many_large_images_do_not_overflow(self) -> None:
        chunk = np.full((20, 1, 1024, 1024), 250, dtype=np.uint8)
        chunk[::2] = 240
        labels = np.tile(np.arange(20) % 2, 15)
        found = class_distances(lambda: [chunk] * 15, labels, classes=2)
        assert found[0].tolist() == [0, 64 * 10**2]
        assert found[1].tolist() == [64 * 10**2, 0]

    def test_harder_samples_more_often(self, images: Pixels) -> None:
        labels = (images[:, 0, 0, 0] >= 100).astype(np.int64)
        distances = class_distances(lambda: [images], labels, classes=2)
        changed = instance_dependent(labels, distances, rate=0.2, seed=0) != labels
        assert changed.sum() == 800
        easy_to_hard = np.argsort(-np.abs(images[:, 0, 0, 0].astype(int) - 99.5), kind="stable")
        thirds = [changed[part].mean() for part in np.array_split(easy_to_hard, 3)]
        assert thirds[0] < 0.6 * thirds[1] < 0.6 * thirds[2]

    def test_the_label_is_that_of_the_nearest_other_class(self) -> None:
        generator = np.random.default_rng(3)
        labels, distances = generator.integers(0, 6, 300), generator.random((300, 6))
        given = instance_dependent(labels, distances, rate=0.5, seed=0)
        for label, new, row in zip(labels, given, distances, strict=True):
            others = [c for c in np.argsort(row) if c != label]
            assert new in (label, others[0])

    def test_depends_on_the_image(self, images: Pixels) -> None:
        """Symmetric noise of the same labels does not: see the test of equally likely samples."""
        labels = (images[:, 0, 0, 0] >= 100).astype(np.int64)
        other = images[::-1]
        one, two = (
            instance_dependent(labels, class_distances(lambda: [x], labels, classes=2), rate=0.2, seed=0)  # noqa: B023
            for x in (images, other)
        )
        assert (one != two).any()

    @pytest.mark.parametrize("rate", [0.0, 0.99])
    def test_rates(self, rate: float) -> None:
        labels, distances = made_labels(200, 3), np.random.default_rng(0).random((200, 3))
        assert (instance_dependent(labels, distances, rate=rate, seed=0) != labels).sum() == round(200 * rate)

    def test_pinned(self) -> None:
        labels, distances = np.arange(12) % 3, (np.arange(36).reshape(12, 3) * 7) % 11 + 0.5
        given = instance_dependent(labels, distances, rate=0.5, seed=5)
        assert given.tolist() == PINNED["instance_dependent"]


class TestConflictingDuplicates:
    def test_so_many_different_samples_with_another_label(self) -> None:
        labels = made_labels(1000, 4)
        chosen, given = conflicting_duplicates(labels, classes=4, rate=0.02, seed=0)
        assert len(set(chosen.tolist())) == len(given) == 20
        assert (np.diff(chosen) > 0).all()
        assert (given != labels[chosen]).all()
        assert set(given.tolist()) <= set(range(4))

    def test_other_classes_are_equally_likely(self) -> None:
        labels = made_labels(40_000, 4)
        chosen, given = conflicting_duplicates(labels, classes=4, rate=0.5, seed=0)
        counts = np.bincount((given - labels[chosen]) % 4, minlength=4)
        assert counts[0] == 0
        assert chisquare(counts[1:]).pvalue > 1e-3


PINNED = {
    "pair": [1, 1, 2, 0, 1, 2, 0, 2, 0, 0],
    "instance_dependent": [0, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 2],
}
"""The same on every machine and for every release of the code."""


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
