"""The driver of a training: its hooks, and that nothing is done or logged twice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from torch import nn

from memtrack.config.params import Params
from memtrack.config.sections.data import Digits
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.runs.callbacks import Callback
from memtrack.runs.training import train
from memtrack.tracking.run import Run

RESULTS = Path("results/train/noisy")
EPOCHS = 4
CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": EPOCHS, "batch_size": 8, "model": {"kind": "mlp", "width": 8, "dropout": 0.25},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 2}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip


class Hooks(Callback):
    """Notes every hook that is called; ends the training at one of them."""

    def __init__(self, end_at: tuple[str, int] | None = None) -> None:
        self.called: list[tuple[str, int]] = []
        self.metrics: dict[int, Mapping[str, float]] = {}
        self.end_at = end_at

    def _note(self, hook: str, epoch: int = 0) -> None:
        self.called.append((hook, epoch))
        if (hook, epoch) == self.end_at:
            raise RuntimeError("ended by a hook")

    def on_train_start(self) -> None:
        self._note("start")

    def on_epoch_start(self, epoch: int) -> None:
        self._note("epoch start", epoch)

    def on_epoch_trained(self, epoch: int) -> None:
        self._note("trained", epoch)

    def on_epoch_recorded(self, epoch: int) -> None:
        self._note("recorded", epoch)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.metrics[epoch] = dict(metrics)
        self._note("epoch end", epoch)

    def on_train_end(self, model: nn.Module) -> None:
        assert not model.training or isinstance(model, nn.Module)
        self._note("end")


ALL = [
    ("start", 0),
    ("epoch start", 1), ("trained", 1), ("epoch end", 1),
    ("epoch start", 2), ("trained", 2), ("recorded", 2), ("epoch end", 2),
    ("epoch start", 3), ("trained", 3), ("epoch end", 3),
    ("epoch start", 4), ("trained", 4), ("recorded", 4), ("epoch end", 4),
    ("end", 0),
]  # fmt: skip
DONE_BEFORE = [call for call in ALL if call[0] not in ("trained", "recorded")]


@pytest.fixture(autouse=True)
def data(empty_store: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 training and 8 test images; the network is not exported for MLflow, which takes seconds."""
    monkeypatch.setattr(Run, "model", lambda *_: None)
    shutil.copy(empty_store, "mlflow.db")
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)
    names, labels = [f"s{number}" for number in range(40)], ["a", "b"] * 20
    collected = Collected(names, labels, ["train"] * 32 + ["test"] * 8, ("a", "b"), images)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    write_variant("noisy", parameters().variants["noisy"], PreparedData())


@pytest.fixture
def uninterrupted(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the training leaves that nothing ends, in another project."""
    with monkeypatch.context() as patched:
        shutil.copytree(project, project / "straight")
        patched.chdir(project / "straight")
        trained()
        return content()


def parameters(section: str = "train", **changes: Any) -> Params:
    return Params.model_validate({**CONTENT, section: CONTENT[section] | changes})


def trained(params: Params | None = None, callbacks: Sequence[Callback] = ()) -> Hooks:
    """Train, with hooks before `callbacks`."""
    hooks = Hooks()
    train(params or parameters(), "noisy", RESULTS, callbacks=[hooks, *callbacks])
    return hooks


def content() -> dict[str, bytes]:
    """The results, but for the name of the MLflow run, which names its store."""
    files = [path for path in RESULTS.rglob("*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(RESULTS)): path.read_bytes() for path in files}


def logged() -> list[dict[str, Any]]:
    """Status and points of every run, the oldest first."""
    client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack").experiment_id
    runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    return [
        {
            "status": run.info.status,
            "points": {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in sorted(run.data.metrics)
            },
        }
        for run in runs
    ]


def test_hooks_are_called_in_order_and_see_the_numbers_of_the_epoch() -> None:
    hooks = trained()
    assert hooks.called == ALL
    assert "mean_curvature" in hooks.metrics[2]
    assert "mean_curvature" not in hooks.metrics[3]
    (run,) = logged()
    assert run["status"] == "FINISHED"
    expected = [(epoch, metrics["train_loss"]) for epoch, metrics in hooks.metrics.items()]
    assert run["points"]["train_loss"] == expected


def test_a_stage_that_runs_again_trains_records_and_logs_nothing_again() -> None:
    trained()
    before, runs = content(), logged()
    assert trained().called == DONE_BEFORE
    assert content() == before
    assert logged() == runs


def test_without_the_results_the_same_run_gets_no_point_twice() -> None:
    trained()
    before, runs = content(), logged()
    shutil.rmtree(RESULTS)
    assert trained().called == ALL
    assert content() == before
    assert logged() == runs


def test_other_recording_parameters_record_alone_in_a_run_of_their_own() -> None:
    trained()
    found = trained(parameters("curvature", probes=2)).called
    assert [call for call in found if call[0] == "trained"] == []
    assert [call for call in found if call[0] == "recorded"] == [("recorded", 2), ("recorded", 4)]
    assert [run["status"] for run in logged()] == ["FINISHED", "FINISHED"]


def test_parameters_that_training_does_not_depend_on_open_no_other_run() -> None:
    trained()
    changed = Params.model_validate({**CONTENT, "evaluate": {"bootstrap": 77}, "duplicates": {"ratio": 0.1}})
    assert trained(changed).called == DONE_BEFORE
    assert len(logged()) == 1


@pytest.mark.parametrize("end_at", [("epoch start", 3), ("trained", 2), ("recorded", 2), ("epoch end", 4),
                                    ("start", 0), ("end", 0)])  # fmt: skip
def test_an_error_in_a_hook_ends_the_training_and_the_next_one_goes_on(
    end_at: tuple[str, int], uninterrupted: dict[str, bytes]
) -> None:
    expected = uninterrupted
    ending = Hooks(end_at)
    with pytest.raises(RuntimeError, match="ended by a hook"):
        trained(callbacks=[ending])
    (run,) = logged()
    assert run["status"] == "FAILED"
    found = trained().called
    again = [epoch for hook, epoch in found if hook == "trained"]
    done = [epoch for hook, epoch in ending.called if hook == "trained"]
    assert again == [epoch for epoch in range(1, EPOCHS + 1) if epoch not in done]
    assert content() == expected
    (run,) = logged()
    assert run["status"] == "FINISHED"
    assert [step for step, _ in run["points"]["train_loss"]] == list(range(1, EPOCHS + 1))


def test_a_training_that_diverges_names_the_key() -> None:
    wild = {"kind": "sgd", "lr": 1000}
    with pytest.raises(FloatingPointError, match=r"diverged.*\(train\.optimizer\.lr\)"):
        trained(parameters(optimizer=wild))
    (run,) = logged()
    assert run["status"] == "FAILED"
