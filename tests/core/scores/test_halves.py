"""The scores of two halves, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.halves import Halves

LOSS = {2: np.array([9.0, 9.0, 9.0], dtype=np.float32), 4: np.array([0.25, 0.5, 0.125], dtype=np.float32)}
EVIDENCE = {
    Need.EPOCHS: InMemoryTrajectory({"loss": LOSS}),
    Need.HALVES: Halves(
        holdout_loss=np.array([0.5, 0.5, 4.0]),
        probabilities=np.array([[0.75, 0.25], [0.25, 0.75], [0.125, 0.875]]),
        labels=np.array([0, 1, 0]),
        forgotten=np.array([6.0, 3.0, 1.0]),
    ),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("holdout_loss", [0.5, 0.5, 4.0]),
        ("rho", [0.25, 0.0, 3.875]),  # minus (the run's loss - the holdout loss)
        # the thresholds are 0.4375 and 0.75
        ("confident_learning", [-0.5 - 0.3125, -0.1875, 0.125 + 0.3125]),
        ("ssft", [-6.0, -3.0, -1.0]),  # who is forgotten first is the most suspect
    ],
)
def test_worked_by_hand(name: str, expected: list[float]) -> None:
    found = compute(name, EVIDENCE)
    assert found.dtype == np.float64
    assert found.tolist() == expected
    assert found.argmax() == 2
    assert not SCORES[name].windowed
