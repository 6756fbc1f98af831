"""issues.csv and the sentence about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from memtrack.core.labels.duplicates import Pair
from memtrack.report.quality import issue_table, quality_metrics, small_classes

IMAGES: Any = SimpleNamespace(
    ids=["a", "b", "c", "t", "u"],
    splits=["train"] * 3 + ["test"] * 2,
    labels=["cat", "dog", "cat", "cat", "dog"],
    first_test=3,
)


def test_each_issue_is_a_row_and_the_worst_is_first() -> None:
    found = {
        "dark": (np.array([0, 3]), np.array([0.3, 0.1])),
        "outlier": (np.array([1, 2]), np.array([4.0, 5.0])),
    }
    pairs = [Pair(1, 3, 0.2, "pixels"), Pair(0, 3, 0.0, "pixels", exact=True), Pair(2, 3, 0.3, "features")]
    table = issue_table(IMAGES, found, pairs)
    assert table.to_numpy().tolist() == [
        ["a", "train", "cat", "leak", 0.0, "t", "cat"],
        ["c", "train", "cat", "leak", 0.3, "t", "cat"],
        ["b", "train", "dog", "conflicting_leak", 0.2, "t", "cat"],
        ["c", "train", "cat", "outlier", 5.0, "", ""],
        ["b", "train", "dog", "outlier", 4.0, "", ""],
        ["t", "test", "cat", "dark", 0.1, "", ""],
        ["a", "train", "cat", "dark", 0.3, "", ""],
    ]
    metrics = quality_metrics(table, {"low_information": 0.9})
    assert metrics.train == {"dark": 1, "outlier": 2, "leak": 2, "conflicting_leak": 1}
    assert metrics.test == {"dark": 1, "leak": 1, "conflicting_leak": 1}
    assert metrics.in_words() == (
        "issues of training + test images: 2 + 0 outlying, 1 + 1 dark; pairs of a training and a test image "
        "that are the same, or nearly: 3, 1 of them under different labels; 90% of the images are low in "
        "information, too many to list"
    )


def test_nothing_found() -> None:
    table = issue_table(IMAGES, {"dark": (np.array([], dtype=int), np.array([]))}, [])
    assert list(table.columns) == ["id", "split", "label", "issue", "value", "other_id", "other_label"]
    assert quality_metrics(table, {}).in_words() == "issues of training + test images: none"


def test_small_classes_have_less_than_a_tenth_of_an_equal_share() -> None:
    rows, sizes = small_classes(["cat"] * 80 + ["eel"] * 4 + ["dog"] * 60)  # 4 of 48
    assert rows.tolist() == [80, 81, 82, 83]
    np.testing.assert_allclose(sizes, 4 / 48)
    assert not len(small_classes(["cat"] * 85 + ["eel"] * 5 + ["dog"] * 60)[0])  # 5 of 50
    assert not len(small_classes(["cat", "dog"] * 5)[0])
