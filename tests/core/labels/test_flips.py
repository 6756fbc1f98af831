"""Labels flipped on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.labels.flips import confusions, flipped

CLASSES, COUNT = 4, 20_000


@pytest.fixture
def given() -> np.ndarray:
    return np.random.default_rng(0).integers(0, CLASSES, COUNT)


def test_confusions_are_counted(given: np.ndarray) -> None:
    first = np.random.default_rng(1)
    epochs = [first.integers(0, CLASSES, COUNT).astype(np.int32) for _ in range(3)]
    found = confusions(given, epochs, classes=CLASSES)
    for label in range(CLASSES):
        for other in range(CLASSES):
            expected = sum(int(((given == label) & (epoch == other)).sum()) for epoch in epochs)
            assert found[label, other] == expected


def test_count_and_who_may_be_flipped(given: np.ndarray) -> None:
    trusted = np.arange(COUNT) % 2 == 0
    new = flipped(given, [given], trusted, classes=CLASSES, share=0.1, seed=3)
    changed = new != given
    assert changed.sum() == 2000  # every flip changes the label
    assert not (changed & ~trusted).any()
    everything = flipped(given, [given], trusted, classes=CLASSES, share=0.9, seed=3)
    assert ((everything != given) == trusted).all()
    again = flipped(given, [given], trusted, classes=CLASSES, share=0.1, seed=3)
    assert (again == new).all()
    assert (flipped(given, [given], trusted, classes=CLASSES, share=0.1, seed=4) != new).any()


def test_flips_follow_the_errors_that_are_there() -> None:
    """Class 0 is often called 1 by mistake and never 2 or 3: the network sees 0 in samples called 1."""
    clean = np.repeat(np.arange(CLASSES), COUNT // CLASSES)
    given = clean.copy()
    wrong = (clean == 0) & (np.arange(COUNT) % 3 == 0)
    given[wrong] = 1
    new = flipped(given, [clean], ~wrong, classes=CLASSES, share=0.4, seed=0)
    of_zero = new[(new != given) & (given == 0)]
    # half of the chances follow the class (all 1), half the sample, which is never seen as another (uniform)
    counts = np.bincount(of_zero, minlength=CLASSES) / len(of_zero)
    assert counts.tolist() == pytest.approx([0, 2 / 3, 1 / 6, 1 / 6], abs=0.03)


def test_flips_follow_what_a_sample_is_taken_for() -> None:
    given = np.zeros(COUNT, dtype=np.int64)
    seen = np.where(np.arange(COUNT) % 2 == 0, 2, 0).astype(np.int32)
    new = flipped(given, [seen], seen == 2, classes=CLASSES, share=0.4, seed=0)
    changed = new[new != given]
    # nothing is called otherwise, so the half by class is uniform
    counts = np.bincount(changed, minlength=CLASSES) / len(changed)
    assert counts.tolist() == pytest.approx([0, 1 / 6, 2 / 3, 1 / 6], abs=0.03)


def test_one_class_cannot_be_flipped() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        flipped(np.zeros(3, dtype=np.int64), [], np.ones(3, dtype=bool), classes=1, share=0.5, seed=0)
