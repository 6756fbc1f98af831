"""Training that is killed, damaged or out of disk ends with the bytes of training that was not."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from project_clone import CODE, NO_MODEL, NO_STORE, Project

EPOCHS = 7


def content(folder: Path) -> dict[str, bytes]:
    """All files of a training's results but the one that names its MLflow run."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def prepared(project: Project) -> Project:
    """Seven epochs with dropout and augmentation, on the second of two variants; labels are made."""
    project.environment[CODE] += NO_MODEL + NO_STORE
    project.edit("train.epochs", EPOCHS)
    project.edit("train.model.dropout", 0.3)
    project.edit("train.augment", {"crop": 1, "flip": True})
    project.edit("record.batch_size", 16)
    project.stage("prepare")
    project.stage("corrupt", "noisy")
    return project


@pytest.fixture(scope="module")
def reference(prepared: Project) -> dict[str, bytes]:
    """What the training leaves that nothing interrupts."""
    train(prepared)
    return content(results(prepared))


@pytest.fixture(autouse=True)
def afresh(project: Project, reference: dict[str, bytes], empty_store: Path) -> Iterator[None]:
    """No results, nothing half done and no runs; params.yaml as it was."""
    for folder in (results(project), project.folder / ".memtrack", project.folder / "mlruns"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copy(empty_store, project.folder / "mlflow.db")
    parameters = (project.folder / "params.yaml").read_text()
    yield
    (project.folder / "params.yaml").write_text(parameters)


@pytest.fixture
def logged(prepared: Project) -> Iterator[None]:
    """MLflow gets what a training logs."""
    code = prepared.environment[CODE]
    prepared.environment[CODE] = code.replace(NO_STORE, "")
    yield
    prepared.environment[CODE] = code


def results(project: Project) -> Path:
    return project.folder / "results/train/noisy"


def train(project: Project, code: str = "", **options: Any) -> str:
    """Run the stage, after `code`."""
    return project.stage("train", "noisy", code=code, **options)


def hook(name: str, *lines: str) -> str:
    """Code for `train`: these lines run at a hook of the training; see `memtrack.runs.callbacks`."""
    body = "".join(f"        {line}\n" for line in lines)
    return f"""
import threading
from functools import partial
from memtrack.runs.callbacks import Callback
class Hook(Callback):
    def {name}(self, epoch=None):
{body}
train.train = partial(train.train, callbacks=[Hook()])
"""


def newest_run(project: Project) -> Run:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack")
    return client.search_runs([experiment.experiment_id], max_results=1)[0]


def steps(project: Project, run: Run) -> list[int]:
    """The epochs of a run's mean curvature, in the order of logging."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    return [point.step for point in client.get_metric_history(run.info.run_id, "mean_curvature")]


def unfinished(project: Project) -> list[Path]:
    """The folders of trainings that are not finished."""
    return list((project.folder / ".memtrack/train").iterdir())


def interrupted(project: Project, after: int) -> Path:
    """End a training in the epoch after `after`, as if by SIGKILL; the folder where it lives.

    What it leaves is kept, for other tests with the same parameters.
    """
    parameters = (project.folder / "params.yaml").read_text()
    kept = project.folder.parent / "kept" / hashlib.sha256(f"{after} {parameters}".encode()).hexdigest()
    if not kept.exists():
        code = hook("on_epoch_start", f"if epoch == {after + 1}:", "    os._exit(9)")
        train(project, code=code, status=9)
        for name in (".memtrack", "mlruns"):
            if (project.folder / name).exists():
                shutil.copytree(project.folder / name, kept / name)
        shutil.copy(project.folder / "mlflow.db", kept)
    shutil.copytree(kept, project.folder, dirs_exist_ok=True)
    (folder,) = unfinished(project)
    return folder


@pytest.mark.usefixtures("logged")
def test_killed_ten_times_at_random(project: Project, reference: dict[str, bytes]) -> None:
    start = time.monotonic()
    train(project)
    taken = time.monotonic() - start
    shutil.rmtree(results(project))
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    reached = set()
    for moment in [draw.uniform(0, taken / 5) for _ in range(10)]:
        kill = f"threading.Timer({moment}, os.kill, (os.getpid(), signal.SIGKILL)).start()"
        code = hook("on_train_start", kill)
        output = train(project, code=code, status=-signal.SIGKILL)
        reached.update(len(list(folder.glob("checkpoints/epoch_*.json"))) for folder in unfinished(project))
        print(f"killed after {moment:.2f} s at epoch {max(reached)}: {output}")
    train(project)
    assert content(results(project)) == reference
    assert len(reached) > 2, "the kills fell into the start alone"
    assert steps(project, newest_run(project)) == list(range(1, EPOCHS + 1))


@pytest.mark.usefixtures("logged")
def test_an_interrupt_is_resumed_in_the_same_mlflow_run(
    project: Project, reference: dict[str, bytes]
) -> None:
    code = hook("on_epoch_trained", "if epoch == 6:", "    raise KeyboardInterrupt")
    train(project, code=code, status=130)
    interrupted = newest_run(project)
    assert interrupted.info.status == "KILLED"
    train(project)
    assert content(results(project)) == reference
    finished = newest_run(project)
    assert finished.info.run_id == interrupted.info.run_id
    assert finished.info.status == "FINISHED"
    assert steps(project, finished) == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize("name", ["states/epoch_0005.pt", "checkpoints/epoch_0005.safetensors",
                                  "checkpoints/epoch_0002.safetensors", "checkpoints/epoch_0003.json",
                                  "trajectory-*/curvature/epoch_0004.npy",
                                  "trajectory-*/epochs/epoch_0001.json"])  # fmt: skip
def test_a_damaged_file_is_said_and_its_epoch_done_again(
    project: Project, reference: dict[str, bytes], name: str
) -> None:
    (path,) = interrupted(project, after=5).glob(name)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    output = train(project)
    assert f"{path.name}: is damaged" in output
    assert content(results(project)) == reference


def test_damaged_results_are_not_recorded_from(project: Project, reference: dict[str, bytes]) -> None:
    train(project)
    checkpoint = results(project) / "checkpoints/epoch_0007.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"?")
    output = train(project)
    assert "epoch_0007.safetensors: is damaged" in output
    assert content(results(project)) == reference


def test_other_recording_parameters_do_not_train(project: Project, reference: dict[str, bytes]) -> None:
    train(project)
    project.edit("curvature.probes", 2)
    project.edit("record.epochs", {"kind": "list", "epochs": [EPOCHS, 3]})
    output = train(project)
    assert "recording alone" in output
    after = content(results(project))
    kept = {name for name in reference if name.startswith("checkpoints/")}
    assert {name: after[name] for name in kept} == {name: reference[name] for name in kept}
    arrays = {name for name in after if name.startswith("trajectory/curvature/")}
    assert arrays == {f"trajectory/curvature/epoch_00{epoch}.npy" for epoch in ("03", "07")}
    assert all(after[name] != reference[name] for name in arrays)
    same = "trajectory/input_gradient_norm/epoch_0003.npy"
    assert after[same] == reference[same]

    project.edit("curvature.probes", 1)
    project.edit("record.epochs", {"kind": "every", "interval": 1})
    assert "recording alone" in train(project)
    assert content(results(project)) == reference


@pytest.mark.usefixtures("logged")
def test_going_on_with_other_epochs_or_another_store_is_another_run(
    project: Project, reference: dict[str, bytes]
) -> None:
    project.edit("record.epochs", {"kind": "list", "epochs": [3, EPOCHS]})
    project.edit("tracking.experiment", "elsewhere")
    interrupted(project, after=4)
    project.edit("record.epochs", {"kind": "every", "interval": 1})
    project.edit("tracking.experiment", "memtrack")
    output = train(project)
    assert "going on after epoch 4" in output
    assert "the MLflow run begun before is closed" in output
    assert content(results(project)) == reference
    run = newest_run(project)
    assert run.data.params["record.epochs.kind"] == "every"
    assert steps(project, run) == list(range(1, EPOCHS + 1))
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (left,) = client.search_runs([client.get_experiment_by_name("elsewhere").experiment_id])
    assert left.info.status == "KILLED"
    assert list((project.folder / ".memtrack/mlflow").iterdir()) == []


@pytest.mark.parametrize("name", ["run.json", "batch_size-*"])
def test_a_small_file_that_is_cut_off_is_made_again(
    name: str, project: Project, reference: dict[str, bytes]
) -> None:
    project.edit("record.batch_size", None)
    (file,) = interrupted(project, after=2).glob(name)
    file.write_text("")
    train(project)
    assert content(results(project)) == reference


@pytest.mark.usefixtures("logged")
def test_killed_while_the_run_is_opened(project: Project) -> None:
    killing = "import memtrack.runs.mlflow_run as opening\nopening.write_json = lambda *_: os._exit(9)"
    train(project, code=killing, status=9)
    opened = newest_run(project)
    train(project)
    assert newest_run(project).info.run_id == opened.info.run_id
    assert newest_run(project).info.status == "FINISHED"


def test_another_training_touches_nothing_and_uses_nothing(
    project: Project, reference: dict[str, bytes]
) -> None:
    first = interrupted(project, after=3)
    before = content(first)
    project.edit("train.optimizer.lr", 0.01)
    output = train(project)
    project.edit("train.optimizer.lr", 0.05)
    assert f"{first.name}: an unfinished training with other settings" in output
    assert content(first) == before
    assert (
        content(results(project))["checkpoints/epoch_0001.json"] != reference["checkpoints/epoch_0001.json"]
    )
    assert "going on after epoch 3" in train(project)
    assert content(results(project)) == reference


def test_checkpoints_of_recorded_epochs_alone(project: Project, reference: dict[str, bytes]) -> None:
    project.edit("record.checkpoints", "recorded")
    project.edit("record.epochs", {"kind": "every", "interval": 4})
    train(project)
    kept = {path.name for path in (results(project) / "checkpoints").glob("*.safetensors")}
    assert kept == {f"epoch_00{epoch}.safetensors" for epoch in ("04", "07")}
    project.edit("record.epochs", {"kind": "every", "interval": 1})
    project.edit("record.checkpoints", "all")
    assert "epoch 1 has no checkpoint: training from the beginning" in train(project)
    assert content(results(project)) == reference


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """A file system of 200 kB where unfinished trainings live."""
    place = project.folder / ".memtrack"
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("making a small file system takes the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.usefixtures("logged")
def test_a_full_disk_is_said_and_loses_nothing(
    project: Project, reference: dict[str, bytes], small_disk: Path
) -> None:
    output = train(project, status=1)
    assert "the disk is full" in output
    assert "Traceback" not in output
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert "going on after epoch" in train(project)
    assert content(results(project)) == reference
