"""The scores, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memtrack.core.recorder import QUANTITIES
from memtrack.core.scores import SCORES, ranks
from memtrack.core.trajectory import Measured, Trajectory

Table = dict[str, list[list[float]]]

# two epochs (rows) of three samples
WORKED: Table = {
    "loss": [[0.5, 2.0, 1.0], [0.25, 3.0, 1.0]],
    "margin": [[2.0, -1.0, 0.5], [4.0, -2.0, -0.5]],
    "gradient_norm": [[1.0, 5.0, 0.0], [2.0, 8.0, 0.5]],
    "curvature": [[0.5, 4.0, 1.0], [1.5, 2.0, 7.0]],
}

# three epochs of four samples, of which the third is learnt late and by heart
MEMORIZED: Table = {
    "loss": [[0.7, 0.6, 2.5, 0.9], [0.3, 0.2, 1.9, 0.4], [0.1, 0.1, 0.6, 0.2]],
    "probability": [[0.5, 0.5, 0.1, 0.4], [0.7, 0.8, 0.1, 0.7], [0.9, 0.9, 0.5, 0.8]],
    "margin": [[0.4, 0.5, -1.8, 0.1], [1.5, 1.8, -1.1, 1.2], [3.0, 3.1, 0.3, 2.0]],
    "correct": [[1, 1, 0, 1], [1, 1, 0, 1], [1, 1, 1, 1]],
    "predicted": [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 0, 3]],
    "gradient_norm": [[0.5, 0.4, 1.5, 0.6], [0.4, 0.3, 2.5, 0.5], [0.2, 0.1, 1.9, 0.3]],
    "curvature": [[0.2, 0.3, 0.5, 0.1], [0.4, 0.3, 2.2, 0.5], [0.2, 0.2, 3.1, 0.4]],
}


def write(folder: Path, table: Table, order: list[int] | None = None) -> Trajectory:
    """The table as a trajectory; quantities that it leaves out are zero."""
    epochs, count = np.shape(next(iter(table.values())))
    trajectory = Trajectory.create(folder, [str(number) for number in range(count)])
    for epoch in range(epochs):
        record: dict[str, NDArray[Any]] = {}
        for name, kind in QUANTITIES.items():
            values = np.asarray(table[name][epoch] if name in table else [0] * count, dtype=kind)
            record[name] = values if order is None else values[order]
        trajectory.write(epoch + 1, [record])
    return trajectory


WORKED_SCORES = {
    "curvature": [1.0, 3.0, 4.0],
    "curvature_last": [1.5, 2.0, 7.0],
    "curvature_log": [np.log(0.75) / 2, np.log(8) / 2, np.log(7) / 2],
    "curvature_ranks": [1.0, 2.5, 2.5],
    "cumulative_loss": [0.375, 2.5, 1.0],
    "mean_margin": [-3.0, 1.5, 0.0],
    "gradient_norm": [1.5, 6.5, 0.25],
}


@pytest.mark.parametrize("name", list(WORKED_SCORES))
def test_worked_by_hand(tmp_path: Path, name: str) -> None:
    found = SCORES[name](write(tmp_path, WORKED))
    assert found.dtype == np.float64
    assert found.tolist() == WORKED_SCORES[name]


def test_every_registered_score_is_worked_by_hand() -> None:
    assert set(SCORES) == set(WORKED_SCORES)


@pytest.mark.parametrize("name", list(SCORES))
def test_larger_is_more_suspect(tmp_path: Path, name: str) -> None:
    assert SCORES[name](write(tmp_path, MEMORIZED)).argmax() == 2


@pytest.mark.parametrize("name", list(SCORES))
def test_a_score_follows_its_sample(tmp_path: Path, name: str) -> None:
    straight = SCORES[name](write(tmp_path / "straight", MEMORIZED))
    shuffled = SCORES[name](write(tmp_path / "shuffled", MEMORIZED, order=[3, 1, 0, 2]))
    assert shuffled.tolist() == straight[[3, 1, 0, 2]].tolist()


@pytest.mark.parametrize("name", list(SCORES))
def test_an_incomplete_epoch_is_left_out(tmp_path: Path, name: str) -> None:
    trajectory = write(tmp_path, WORKED)
    (tmp_path / "epochs" / "epoch_0002.json").unlink()
    one_epoch = {quantity: rows[:1] for quantity, rows in WORKED.items()}
    expected = SCORES[name](write(tmp_path / "one", one_epoch))
    assert SCORES[name](trajectory).tolist() == expected.tolist()


def test_epochs_are_added_up_in_float64(tmp_path: Path) -> None:
    """In float32, 2^24 + 1 would be 2^24."""
    trajectory = write(tmp_path, {"curvature": [[2.0**24], [1.0]]})
    assert SCORES["curvature"](trajectory).tolist() == [(2**24 + 1) / 2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 2.0, 1.0], [3, 1, 2]),
        ([1.0, 3.0, 1.0, 3.0, 2.0], [4, 1, 5, 2, 3]),
        ([7.0, 7.0, 7.0], [1, 2, 3]),
        ([-1.0, float("-inf"), 0.0, float("inf")], [3, 4, 2, 1]),
        ([], []),
    ],
    ids=["distinct", "ties in id order", "all equal", "infinite", "empty"],
)
def test_ranks(values: list[float], expected: list[int]) -> None:
    found = ranks(np.array(values, dtype=np.float64))
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_ranks_of_many_samples() -> None:
    """Enough of them, with many ties, that a sort that does not keep the order shows."""
    values = np.random.default_rng(0).integers(0, 5, 1000).astype(np.float64)
    order = sorted(range(1000), key=lambda sample: (-values[sample], sample))
    found = ranks(values)
    assert [found[sample] for sample in order] == list(range(1, 1001))


def test_a_curvature_of_zero_counts_as_the_smallest_other_one() -> None:
    arrays = {1: np.array([0.0, 2.0, 8.0]), 2: np.array([0.0, 0.0, 0.0]), 3: np.array([1.0, 1.0, 4.0])}
    found = SCORES["curvature_log"](Measured({"curvature": arrays}))
    assert found == pytest.approx([np.log(2) / 3, np.log(2) / 3, (np.log(8) + np.log(4)) / 3])


def test_equal_curvatures_share_their_places() -> None:
    arrays = {1: np.array([3.0, 1.0, 3.0, 5.0])}
    assert SCORES["curvature_ranks"](Measured({"curvature": arrays})).tolist() == [2.5, 1.0, 2.5, 4.0]
