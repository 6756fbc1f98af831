"""The scores, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from aum import AUMCalculator
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from memtrack.core.recording.logits import from_logits
from memtrack.core.recording.trajectory import QUANTITIES, InMemoryTrajectory, Trajectory
from memtrack.core.scores.registry import SCORES, ranks

Table = dict[str, list[list[float]]]

# two epochs (rows) of three samples
WORKED: Table = {
    "loss": [[0.5, 2.0, 1.0], [0.25, 3.0, 1.0]],
    "probability": [[0.625, 0.125, 0.375], [0.875, 0.25, 0.375]],
    "correct": [[1, 0, 1], [1, 0, 0]],
    "error_norm": [[0.5, 1.25, 0.75], [0.25, 1.0, 1.0]],
    "margin": [[2.0, -1.0, 0.5], [4.0, -2.0, -0.5]],
    "input_gradient_norm": [[1.0, 5.0, 0.0], [2.0, 8.0, 0.5]],
    "curvature": [[0.5, 4.0, 1.0], [1.5, 2.0, 7.0]],
}

# three epochs of four samples, of which the third is learnt late and by heart
MEMORIZED: Table = {
    "loss": [[0.7, 0.6, 2.5, 0.9], [0.3, 0.2, 1.9, 0.4], [0.1, 0.1, 0.6, 0.2]],
    "probability": [[0.6, 0.6, 0.1, 0.4], [0.7, 0.8, 0.1, 0.7], [0.9, 0.9, 0.7, 0.8]],
    "margin": [[0.4, 0.5, -1.8, 0.1], [1.5, 1.8, -1.1, 1.2], [3.0, 3.1, 0.3, 2.0]],
    "correct": [[1, 1, 0, 1], [1, 1, 0, 1], [1, 1, 1, 1]],
    "predicted": [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 0, 3]],
    "error_norm": [[0.7, 0.6, 1.2, 0.8], [0.4, 0.3, 1.2, 0.4], [0.1, 0.1, 0.7, 0.2]],
    "input_gradient_norm": [[0.5, 0.4, 1.5, 0.6], [0.4, 0.3, 2.5, 0.5], [0.2, 0.1, 1.9, 0.3]],
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


W = [(3.5 / 3) ** 0.5, (4.25 / 3) ** 0.5]  # the roots of the epochs' mean losses
WORKED_SCORES = {
    "curvature": [1.0, 3.0, 4.0],
    "curvature_last": [1.5, 2.0, 7.0],
    "curvature_log": [np.log(0.75) / 2, np.log(8) / 2, np.log(7) / 2],
    "curvature_ranks": [1.0, 2.5, 2.5],
    "curvature_weighted": [(W[0] * a + W[1] * b) / sum(W) for a, b in ((1, 1), (3, 2), (2, 3))],
    "csl": [0.375, 2.5, 1.0],
    "aum": [-3.0, 1.5, 0.0],
    "input_gradient_norm": [1.5, 6.5, 0.25],
    "inconfidence": [0.125, 0.75, 0.625],
    "confidence": [-0.75, -0.1875, -0.375],
    "variability": [0.125, 0.0625, 0.0],
    "el2n": [0.375, 1.125, 0.875],
    "forgetting_events": [0.0, 2.0, 1.0],  # of the second, never learned: the number of epochs
    "learning_time": [1.0, 3.0, 3.0],
    "first_learned": [1.0, 3.0, 3.0],
}


@pytest.mark.parametrize("name", list(WORKED_SCORES))
def test_worked_by_hand(tmp_path: Path, name: str) -> None:
    found = SCORES[name].formula(write(tmp_path, WORKED))
    assert found.dtype == np.float64
    assert found.tolist() == WORKED_SCORES[name]


def test_every_score_of_the_epochs_is_worked_by_hand() -> None:
    assert {name for name, score in SCORES.items() if score.windowed} == set(WORKED_SCORES)


# forgetting events need a sample that is forgotten: below
@pytest.mark.parametrize("name", sorted({*WORKED_SCORES} - {"forgetting_events"}))
def test_larger_is_more_suspect(tmp_path: Path, name: str) -> None:
    assert SCORES[name].formula(write(tmp_path, MEMORIZED)).argmax() == 2


@pytest.mark.parametrize("name", list(WORKED_SCORES))
def test_a_score_follows_its_sample(tmp_path: Path, name: str) -> None:
    straight = SCORES[name].formula(write(tmp_path / "straight", MEMORIZED))
    shuffled = SCORES[name].formula(write(tmp_path / "shuffled", MEMORIZED, order=[3, 1, 0, 2]))
    assert shuffled.tolist() == straight[[3, 1, 0, 2]].tolist()


@pytest.mark.parametrize("name", list(WORKED_SCORES))
def test_an_incomplete_epoch_is_left_out(tmp_path: Path, name: str) -> None:
    trajectory = write(tmp_path, WORKED)
    (tmp_path / "epochs" / "epoch_0002.json").unlink()
    one_epoch = {quantity: rows[:1] for quantity, rows in WORKED.items()}
    expected = SCORES[name].formula(write(tmp_path / "one", one_epoch))
    assert SCORES[name].formula(trajectory).tolist() == expected.tolist()


def test_epochs_are_added_up_in_float64(tmp_path: Path) -> None:
    """In float32, 2^24 + 1 would be 2^24."""
    trajectory = write(tmp_path, {"curvature": [[2.0**24], [1.0]]})
    assert SCORES["curvature"].formula(trajectory).tolist() == [(2**24 + 1) / 2]


def test_ranks_of_many_samples() -> None:
    """Enough of them, with many ties, that a sort that does not keep the order shows."""
    values = np.random.default_rng(0).integers(0, 5, 1000).astype(np.float64)
    order = sorted(range(1000), key=lambda sample: (-values[sample], sample))
    found = ranks(values)
    assert [found[sample] for sample in order] == list(range(1, 1001))


def test_a_curvature_of_zero_counts_as_the_smallest_other_one() -> None:
    arrays = {1: np.array([0.0, 2.0, 8.0]), 2: np.array([0.0, 0.0, 0.0]), 3: np.array([1.0, 1.0, 4.0])}
    found = SCORES["curvature_log"].formula(InMemoryTrajectory({"curvature": arrays}))
    assert found == pytest.approx([np.log(2) / 3, np.log(2) / 3, (np.log(8) + np.log(4)) / 3])


def test_equal_curvatures_share_their_places() -> None:
    arrays = {1: np.array([3.0, 1.0, 3.0, 5.0])}
    assert SCORES["curvature_ranks"].formula(InMemoryTrajectory({"curvature": arrays})).tolist() == [
        2.5,
        1.0,
        2.5,
        4.0,
    ]


def test_epochs_in_which_all_is_fitted_do_not_count() -> None:
    arrays = {
        "curvature": {1: np.array([1.0, 9.0, 5.0]), 2: np.array([70.0, 50.0, 60.0])},
        "loss": {1: np.array([0.1, 3.0, 0.2]), 2: np.zeros(3)},
    }
    weighted = SCORES["curvature_weighted"].formula
    assert weighted(InMemoryTrajectory(arrays)).tolist() == [1, 3, 2]
    arrays["loss"][1] = np.zeros(3)  # nothing is left to tell the epochs apart by
    assert weighted(InMemoryTrajectory(arrays)).tolist() == [2, 2, 2]


# the epochs (columns) at which a sample (rows) was predicted right
RIGHT = [
    [1, 1, 1, 1, 1],
    [0, 0, 1, 1, 1],
    [1, 0, 1, 0, 1],
    [0, 1, 1, 1, 0],
    [0, 0, 0, 0, 0],
    [0, 1, 0, 0, 1],
]


def records(quantity: str, by_sample: list[list[float]]) -> InMemoryTrajectory:
    """Quantities of samples (rows) in epochs (columns)."""
    table = np.array(by_sample, dtype=np.float32)
    return InMemoryTrajectory({quantity: dict(enumerate(table.T, start=1))})


def test_forgetting_events_are_counted() -> None:
    found = SCORES["forgetting_events"].formula(records("correct", RIGHT))
    brute = []
    for row in RIGHT:
        events = sum(row[epoch] and not row[epoch + 1] for epoch in range(len(row) - 1))
        brute.append(events if any(row) else len(row))
    assert found.tolist() == brute == [0, 0, 2, 1, 5, 1]


def test_learning_time_is_when_it_stays_learned() -> None:
    found = SCORES["learning_time"].formula(records("correct", RIGHT))
    brute = []
    for row in RIGHT:
        stays = [epoch for epoch in range(len(row)) if all(row[epoch:])]
        brute.append(1 + min(stays, default=len(row)))
    assert found.tolist() == brute == [1, 3, 5, 6, 6, 5]


def test_first_learned_is_the_first_time_above_one_half() -> None:
    rows = [[0.5, 0.51, 0.1], [0.9, 0.1, 0.9], [0.1, 0.2, 0.5], [0.0, 0.0, 1.0]]
    assert SCORES["first_learned"].formula(records("probability", rows)).tolist() == [2, 1, 4, 3]


def test_variability_is_numpys_deviation() -> None:
    rows = np.random.default_rng(0).random((20, 7)).astype(np.float32)
    found = SCORES["variability"].formula(records("probability", rows.tolist()))
    assert found == pytest.approx(rows.astype(np.float64).std(axis=1), abs=1e-12)


def test_mean_margin_is_the_aum_package(tmp_path: Path) -> None:
    """Of the published code of Pleiss et al. (2020), fed with logits."""
    calculator = AUMCalculator(str(tmp_path), compressed=True)
    logits, labels = torch.randn(4, 10, 5), torch.arange(10) % 5
    margins = {}
    for epoch, batch in enumerate(logits, start=1):
        calculator.update(batch, labels, [str(sample) for sample in range(10)])
        margins[epoch] = from_logits(batch, labels)["margin"].numpy()
    calculator.finalize()
    theirs = pd.read_csv(tmp_path / "aum_values.csv", dtype={"sample_id": int}).set_index("sample_id")["aum"]
    found = SCORES["aum"].formula(InMemoryTrajectory({"margin": margins}))
    assert found == pytest.approx(-theirs.sort_index().to_numpy(), abs=1e-6)


def test_inconfidence_is_cleanlabs_self_confidence() -> None:
    logits, labels = torch.randn(50, 5), torch.arange(50) % 5
    found = SCORES["inconfidence"].formula(
        InMemoryTrajectory({"probability": {3: from_logits(logits, labels)["probability"].numpy()}})
    )
    theirs = get_label_quality_scores(labels.numpy(), logits.softmax(1).numpy(), method="self_confidence")
    assert found == pytest.approx(1 - theirs, abs=1e-6)


def test_el2n_is_its_definition() -> None:
    logits, labels = torch.randn(2, 30, 4), torch.arange(30) % 4
    arrays = {epoch: from_logits(batch, labels)["error_norm"].numpy() for epoch, batch in enumerate(logits)}
    brute = []
    for sample in range(30):
        norms = []
        for batch in logits.double():
            error = torch.exp(batch[sample]) / torch.exp(batch[sample]).sum()
            error[labels[sample]] -= 1
            norms.append(float((error**2).sum() ** 0.5))
        brute.append(np.mean(norms))
    assert SCORES["el2n"].formula(InMemoryTrajectory({"error_norm": arrays})) == pytest.approx(
        brute, abs=1e-6
    )
