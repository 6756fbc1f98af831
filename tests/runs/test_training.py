"""The driver of a training: its hooks, and that nothing is done or logged twice."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from prepared_noise import prepare_noise
from torch import nn
from torch.nn.functional import cross_entropy

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.training.distributed import World
from memtrack.core.training.trainer import Trainer
from memtrack.data.batches import variant_batches
from memtrack.data.corruption import write_variant
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs import precision
from memtrack.runs.callbacks import Callback
from memtrack.runs.checkpoints import trained_checkpoints, trained_network
from memtrack.runs.fitting import Fitting
from memtrack.runs.training import train
from memtrack.tracking import store
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
    write_variant("noisy", parameters().variants["noisy"], prepare_noise(40, side=4))


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is sent nothing."""
    monkeypatch.setattr(store, "upload", lambda *_, **__: 0)


@pytest.fixture(scope="module")
def straight() -> dict[str, bytes]:
    """What `uninterrupted` has found, once it has."""
    return {}


@pytest.fixture
def uninterrupted(
    project: Path, straight: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """What the training leaves that nothing ends, in another project."""
    if not straight:
        with monkeypatch.context() as patched:
            shutil.copytree(project, project / "straight")
            patched.chdir(project / "straight")
            patched.setattr(store, "upload", lambda *_, **__: 0)
            trained()
            straight |= content()
    return straight


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


def goes_on_after_an_end(params: Params, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that ends in its second epoch and goes on leaves the bytes of one that does not end."""
    with monkeypatch.context() as patched:
        shutil.copytree(project, project / "straight")
        patched.chdir(project / "straight")
        trained(params)
        expected = content()
    with pytest.raises(RuntimeError, match="ended by a hook"):
        trained(params, [Hooks(("epoch end", 2))])
    assert [epoch for hook, epoch in trained(params).called if hook == "trained"] == [3, 4]
    assert content() == expected


CO_TRAINING = {"kind": "jocor", "forget_rate": 0.3, "warmup": 2}
ROBUST = {
    "early learning on mixtures": {"loss": {"kind": "early_learning"}, "mixup": 0.5},
    "two networks, averaged": {"co_training": CO_TRAINING, "average": 0.8, "sam": 0.05},
}


@pytest.mark.parametrize("options", ROBUST.values(), ids=ROBUST.keys())
def test_training_that_resists_wrong_labels_goes_on_after_an_end(
    options: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the networks of its checkpoints are those that were recorded."""
    params = parameters(**options)
    goes_on_after_an_end(params, project, monkeypatch)
    data = PreparedData()
    variant = VariantData("noisy", data)
    checkpoints = trained_checkpoints(params, variant, RESULTS / "checkpoints", remedy="")
    model = trained_network(params.train, data.info, checkpoints, EPOCHS, remedy="")
    (batch,) = variant_batches(data, variant, batch_size=32, device=torch.device("cpu"))
    losses = cross_entropy(model.eval()(batch[0]), batch[1], reduction="none").detach().numpy()
    recorded = Trajectory(RESULTS / "trajectory").load("loss", EPOCHS)
    np.testing.assert_allclose(recorded, losses, rtol=1e-5, atol=1e-6)


class TestSusceptibility:
    """record.susceptibility."""

    def history(self) -> list[dict[str, str]]:
        with (RESULTS / "history.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def weights(self) -> dict[str, bytes]:
        return {name: found for name, found in content().items() if name.endswith((".safetensors", ".npy"))}

    def test_is_measured_without_another_step_of_the_training(self) -> None:
        trained()
        expected = self.weights()
        assert [row["susceptibility"] for row in self.history()] == [""] * EPOCHS
        assert json.loads((RESULTS / "metrics.json").read_text())["susceptibility"] is None
        hooks = trained(parameters("record", susceptibility=True))
        assert [epoch for hook, epoch in hooks.called if hook == "trained"] == [1, 2, 3, 4]
        assert [epoch for hook, epoch in hooks.called if hook == "recorded"] == []  # the old records fit
        assert self.weights() == expected
        drops = [
            json.loads((RESULTS / f"checkpoints/epoch_{epoch:04}.json").read_text())["random_label_drop"]
            for epoch in range(1, EPOCHS + 1)
        ]
        assert len(set(drops)) == EPOCHS
        means = [sum(drops[:epoch]) / epoch for epoch in range(1, EPOCHS + 1)]
        assert [float(row["susceptibility"]) for row in self.history()] == pytest.approx(means, rel=1e-12)
        assert [hooks.metrics[epoch]["susceptibility"] for epoch in (1, 4)] == pytest.approx(
            [means[0], means[3]]
        )
        assert json.loads((RESULTS / "metrics.json").read_text())["susceptibility"] == pytest.approx(means[3])
        assert [value for _, value in logged()[-1]["points"]["susceptibility"]] == pytest.approx(means)
        assert trained(parameters("record", susceptibility=True)).called == DONE_BEFORE

    def test_goes_on_after_an_end(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        goes_on_after_an_end(parameters("record", susceptibility=True), project, monkeypatch)

    def test_the_batch_has_images_of_the_training_and_labels_that_ignore_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = PreparedData()
        variant = VariantData("noisy", data)
        fitting = Fitting(parameters(), data, variant, torch.device("cpu"))
        seen = []
        monkeypatch.setattr(
            Trainer, "random_label_drop", lambda _, inputs, labels, seed: seen.append((inputs, labels)) or 0.0
        )
        for epoch in (1, 1, *range(2, 200)):
            fitting.random_label_drop(epoch)
        torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
        (every,) = variant_batches(data, variant, batch_size=32, device=torch.device("cpu"))
        right, ones = 0, 0
        for inputs, labels in seen[1:]:
            rows = [int((every[0] == image).flatten(1).all(1).nonzero()[0, 0]) for image in inputs]
            assert len(set(rows)) == 8
            right += int((every[1][rows] == labels).sum())
            ones += int(labels.sum())
        total = 199 * 8
        assert len(data.info.classes) == 2
        assert abs(right / total - 0.5) < 2 / np.sqrt(total)  # four standard errors from chance
        assert abs(ones / total - 0.5) < 2 / np.sqrt(total)

    @pytest.mark.parametrize("lost", [math.nan, -math.inf, -torch.finfo(torch.float32).max])
    def test_is_left_out_where_a_step_makes_the_loss_infinite(
        self, lost: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        drops = iter([0.5, lost, 0.5, 0.5])
        monkeypatch.setattr(Trainer, "random_label_drop", lambda *_: next(drops))
        trained(parameters("record", susceptibility=True))
        assert [row["susceptibility"] for row in self.history()] == ["0.5", "", "", ""]
        assert json.loads((RESULTS / "metrics.json").read_text())["susceptibility"] is None
        assert "the susceptibility is left out: a step on random labels led to a" in capsys.readouterr().out

    def test_a_network_that_cannot_be_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> float:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")

        monkeypatch.setattr(Trainer, "random_label_drop", refuse)
        with pytest.raises(InputError, match=r"susceptibility: needs a copy of the network"):
            trained(parameters("record", susceptibility=True))


def test_options_for_whole_batches_are_refused_in_one_of_several_processes() -> None:
    data = PreparedData()
    with pytest.raises(InputError, match=r"mixup: is for whole batches, and there are 2 processes"):
        Fitting(parameters(mixup=1.0), data, VariantData("noisy", data), torch.device("cpu"), TwoProcesses())


class TwoProcesses(World):
    """The first of two processes, without the other."""

    size = 2


def test_a_training_that_diverges_names_the_key() -> None:
    wild = {"kind": "sgd", "lr": 1000}
    with pytest.raises(FloatingPointError, match=r"diverged.*\(train\.optimizer\.lr\)"):
        trained(parameters(optimizer=wild))
    (run,) = logged()
    assert run["status"] == "FAILED"


class TestAutoPrecision:
    """record.precision: auto. On this CPU, tf32 computes as float32 does."""

    GOOD, BAD = {"curvature": 0.9995, "input_gradient_norm": 1.0}, {"curvature": 0.9985}

    @pytest.fixture
    def card(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
        """A device that computes with bfloat16 and tf32; what was measured on it, and after which epoch.

        bfloat16 is good enough after epoch 2, and no longer after epoch 4.
        """
        measured: list[tuple[str, int]] = []

        def agreement(*arguments: Any, epoch: int) -> dict[str, dict[str, float]]:
            (tried,) = arguments[-1]
            measured.append((tried, epoch))
            assert sum(len(labels) for _, labels in arguments[1]) == 32
            return {tried: self.BAD if (tried, epoch) == ("bfloat16", 4) else self.GOOD}

        monkeypatch.setattr(precision, "fastest_precision", lambda _: "bfloat16")
        monkeypatch.setattr(precision, "rank_agreement", agreement)
        return measured

    def arrays(self, params: Params) -> dict[str, bytes]:
        """What a training records, in results of its own."""
        shutil.rmtree(RESULTS, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "upload", lambda *_, **__: 0)
            trained(params)
        return {name: array for name, array in content().items() if name.endswith(".npy")}

    def kept(self) -> Any:
        return json.loads((RESULTS / "trajectory/precision.json").read_text())

    def test_is_float32_on_a_cpu(self) -> None:
        found = self.arrays(parameters("record", precision="auto"))
        made_from = json.loads((RESULTS / "trajectory/epochs/epoch_0004.json").read_text())["made_from"]
        assert made_from["precision"] == "float32"
        assert not (RESULTS / "trajectory/precision.json").exists()
        assert found == self.arrays(parameters("record", precision="float32"))

    def test_the_fastest_that_is_good_enough(self, card: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision, "AGREEMENT", 0.998)
        found = self.arrays(parameters("record", precision="auto"))
        assert card == [("bfloat16", 2), ("bfloat16", 4)]
        assert self.kept() == {"precision": "bfloat16", "measured": {
            "2": {"bfloat16": self.GOOD}, "4": {"bfloat16": self.BAD}}}  # fmt: skip
        assert found == self.arrays(parameters("record", precision="bfloat16"))
        assert found != self.arrays(parameters("record", precision="float32"))

    @pytest.mark.parametrize("end_at", [None, ("recorded", 2), ("epoch start", 4), ("epoch end", 4)])
    def test_a_precision_that_is_no_longer_good_enough_is_given_up_for_all_epochs(
        self, card: list[Any], end_at: tuple[str, int] | None
    ) -> None:
        params = parameters("record", precision="auto")
        if end_at is not None:
            with pytest.raises(RuntimeError, match="ended by a hook"):
                trained(params, [Hooks(end_at)])
        hooks = trained(params)
        found = content()
        assert card == [("bfloat16", 2), ("bfloat16", 4), ("tf32", 4)]
        assert self.kept()["precision"] == "tf32"
        (run,) = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db").search_runs(["1"])
        assert run.data.tags["sweep_precision"] == "tf32"
        (logged_run,) = logged()
        for epoch, values in hooks.metrics.items():
            if "mean_curvature" in values:  # the last value of an epoch counts
                assert dict(logged_run["points"]["mean_curvature"])[epoch] == values["mean_curvature"]
        expected = self.arrays(parameters("record", precision="tf32"))
        assert {name: array for name, array in found.items() if name.endswith(".npy")} == expected

    @pytest.mark.usefixtures("unlogged")
    def test_another_device_does_not_mix_precisions(
        self, card: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The results of two epochs come from a device with bfloat16; two more are recorded without."""
        trained(parameters("record", precision="auto", epochs={"kind": "list", "epochs": [1, 2]}))
        assert self.kept()["precision"] == "bfloat16"
        monkeypatch.setattr(precision, "fastest_precision", lambda _: "float32")
        trained(parameters("record", precision="auto"))
        found = {name: array for name, array in content().items() if name.endswith(".npy")}
        assert found == self.arrays(parameters("record", precision="float32"))
        assert not (RESULTS / "trajectory/precision.json").exists()

    @pytest.mark.usefixtures("unlogged")
    def test_measured_as_epochs_pass(self, card: list[Any]) -> None:
        epochs = {"kind": "list", "epochs": [1, 2, 3]}
        trained(parameters("record", precision="auto", epochs=epochs))
        assert card == [("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3)]
        trained(parameters("record", precision="auto", epochs={"kind": "every"}))
        assert card[3:] == [("bfloat16", 4), ("tf32", 4)]
        assert self.kept()["precision"] == "tf32"

    @pytest.mark.usefixtures("unlogged")
    def test_a_step_that_is_too_small_is_not_measured(self, card: list[Any]) -> None:
        content = {**CONTENT, "curvature": {"perturbation_scale": 0.01, "probes": 1}}
        trained(Params.model_validate(content))
        assert card == [("tf32", 2), ("tf32", 4)]

    @pytest.mark.usefixtures("unlogged")
    def test_a_damaged_choice_is_made_again(
        self, card: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(RuntimeError, match="ended by a hook"):
            trained(callbacks=[Hooks(("recorded", 2))])
        (file,) = Path(".memtrack").rglob("precision.json")
        file.write_text("{")
        trained()
        assert "The precision of the sweep is chosen again" in capsys.readouterr().out
        assert self.kept()["precision"] == "tf32"
