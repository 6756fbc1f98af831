"""Names, windows and needs of scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import RENAMED, SCORES, Need, compute, known, needs, ranks, title
from memtrack.core.scores.registry import score
from memtrack.core.scores.several_trainings import AVERAGED

ARRAYS = {
    "curvature": {epoch: np.array([1.0, 2.0, epoch], dtype=np.float32) for epoch in (1, 2, 4)},
    "loss": {epoch: np.array([0.5, epoch, 0.25], dtype=np.float32) for epoch in (1, 2, 4)},
}


@pytest.fixture
def registered() -> Iterator[None]:
    """A score of a new kind, in one place: what it needs is said where it is defined."""

    @score(title="half of the labels", needs=(Need.NETWORKS, Need.EPOCHS), cost="none")
    def halves(networks: list[float], trajectory: InMemoryTrajectory) -> np.ndarray:
        return np.array(networks) / 2 + len(trajectory.epochs)

    yield
    del SCORES["halves"]


@pytest.mark.usefixtures("registered")
class TestAnotherKind:
    def test_gets_what_it_needs_in_its_order(self) -> None:
        evidence = {Need.EPOCHS: InMemoryTrajectory(ARRAYS), Need.NETWORKS: [2.0, 4.0]}
        assert compute("halves", evidence).tolist() == [4.0, 5.0]

    def test_is_known_everywhere_and_has_no_windows(self) -> None:
        assert known("halves")
        assert not known("halves_epochs_1_2")
        assert needs("halves") == (Need.NETWORKS, Need.EPOCHS)
        assert title("halves") == "half of the labels"

    def test_what_it_needs_is_missing(self) -> None:
        with pytest.raises(LookupError, match="halves needs networks, which are missing"):
            compute("halves", {Need.EPOCHS: InMemoryTrajectory(ARRAYS)})


@pytest.mark.parametrize("name", ["curvature", "curvature_log", "csl"])
def test_a_window_is_the_score_of_those_epochs(name: str) -> None:
    late = {
        quantity: {epoch: array for epoch, array in arrays.items() if epoch > 1}
        for quantity, arrays in ARRAYS.items()
    }
    found = compute(f"{name}_epochs_2_9", {Need.EPOCHS: InMemoryTrajectory(ARRAYS)})
    expected = compute(name, {Need.EPOCHS: InMemoryTrajectory(late)})
    assert found.tolist() == expected.tolist()


def test_a_window_without_recorded_epochs() -> None:
    with pytest.raises(LookupError, match="no epoch of the window"):
        compute("curvature_epochs_8_9", {Need.EPOCHS: InMemoryTrajectory(ARRAYS)})


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("curvature", True),
        ("curvature_epochs_1_10", True),
        ("aum_epochs_3_3", True),
        ("curvature_epochs_0_3", False),
        ("curvature_epochs_5_3", False),
        ("curvature_epochs_3", False),
        ("curvatur", False),
        ("mean_margin", False),
        ("vog", True),
        ("vog_epochs_1_3", False),
    ],
)
def test_names(name: str, right: bool) -> None:
    assert known(name) is right


def test_a_renamed_score_is_a_score() -> None:
    assert set(RENAMED.values()) <= set(SCORES)
    assert not set(RENAMED) & set(SCORES)


def test_titles() -> None:
    assert title("csl_epochs_1_10") == "cumulative loss (CSL), epochs 1 to 10"
    assert title("something_else") == "something else"


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


COSTLY = {"vog", "grand", "critical_sample_ratio", "cg_score", "tracin", "arnoldi",
          "confident_learning", "holdout_loss", "rho", "ssft", "turn_over", "neighbours_pretrained",
          *(f"averaged_{name}" for name in AVERAGED)}  # fmt: skip


def test_costly_scores_say_what_they_cost_and_are_not_computed_unless_they_are_asked_for() -> None:
    assert {name for name, score in SCORES.items() if not score.by_default} == COSTLY
    assert all(SCORES[name].cost for name in COSTLY)
