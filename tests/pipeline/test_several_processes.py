"""A training in several processes: what it writes, and how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from pages import command
from project_clone import CODE, NO_MODEL, Project
from safetensors.numpy import load_file
from servers import free_port

EPOCHS = 4
IN_SECOND = """
import os, signal
from pathlib import Path
from memtrack.config.errors import InputError, Problem
from memtrack.runs.fitting import Fitting
def run_epoch(self, epoch, run_epoch=Fitting.run_epoch):
    if epoch == 3 and os.environ.get("RANK") == "1":
        {}
    return run_epoch(self, epoch)
Fitting.run_epoch = run_epoch
"""
"""Code that does something in the second process, at the beginning of the third epoch."""

SLOW_END = """
import time
from memtrack.tracking.run import Run
def end(*arguments, end=Run.end, **options):
    time.sleep(0.3)
    end(*arguments, **options)
Run.end = end
"""
"""Code that closes an MLflow run slowly: the launcher's signal comes meanwhile."""


@pytest.fixture(scope="module")
def prepared(project: Project) -> Project:
    """Four epochs with dropout and augmentation, on the second of two variants; labels are made."""
    project.environment[CODE] += NO_MODEL
    project.edit("train.epochs", EPOCHS)
    project.edit("train.batch_size", 9)
    project.edit("train.model.dropout", 0.3)
    project.edit("train.augment", {"crop": 1, "flip": True})
    project.edit("record.batch_size", 4)
    project.edit("record.susceptibility", True)
    project.edit("compute", {"processes": 1})
    project.stage("prepare")
    project.stage("corrupt", "noisy")
    return project


@pytest.fixture(scope="module")
def alone(prepared: Project) -> Path:
    """What a training leaves that one process does."""
    prepared.stage("train", "noisy")
    return shutil.move(results(prepared), prepared.folder.parent / "alone")


@pytest.fixture(autouse=True)
def afresh(prepared: Project, alone: Path, empty_store: Path) -> Iterator[None]:
    """No results, nothing half done, and no runs."""
    for folder in (results(prepared), prepared.folder / ".memtrack", prepared.folder / "mlruns"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copy(empty_store, prepared.folder / "mlflow.db")
    code = prepared.environment[CODE]
    yield
    prepared.environment[CODE] = code


def results(project: Project) -> Path:
    return project.folder / "results/train/noisy"


def train(project: Project, processes: int, in_second: str = "", status: int = 0) -> str:
    """Run the stage; its output. `in_second`: see `IN_SECOND`."""
    project.edit("compute.processes", processes)
    code = project.environment[CODE]
    project.environment[CODE] += IN_SECOND.format(in_second) if in_second else ""
    try:
        return project.stage("train", "noisy", status=status)
    finally:
        project.environment[CODE] = code


def said(output: str) -> list[str]:
    """The lines of an output, without those about progress."""
    return [line for line in output.splitlines() if not re.match(r"[a-z0-9 ]+: \d+/\d+", line)]


def trajectory(folder: Path) -> dict[str, bytes]:
    files = (folder / "trajectory").rglob("*.npy")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def weights(folder: Path, epoch: int) -> dict[str, Any]:
    return load_file(folder / f"checkpoints/epoch_{epoch:04d}.safetensors")


def only_run(project: Project) -> tuple[Run, list[int]]:
    """The MLflow run, and the epochs of its mean curvature in the order of logging."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("memtrack").experiment_id])
    points = client.get_metric_history(run.info.run_id, "mean_curvature")
    return run, [point.step for point in points]


@pytest.mark.parametrize("processes", [2, 3])
def test_a_checkpoint_gives_the_same_arrays(prepared: Project, alone: Path, processes: int) -> None:
    shutil.copytree(alone, results(prepared))
    shutil.rmtree(results(prepared) / "trajectory")
    assert train(prepared, processes).count("recording alone") == 1
    found, expected = trajectory(results(prepared)), trajectory(alone)
    assert len(found) == 8 * EPOCHS + 1
    assert found == expected


def test_a_launcher_starts_the_processes(prepared: Project, alone: Path) -> None:
    shutil.copytree(alone, results(prepared))
    shutil.rmtree(results(prepared) / "trajectory")
    launch = command("torchrun --nproc-per-node", "docs/several_processes.md", **{"4": "2"}, NAME="noisy")
    assert prepared.run(*launch).count("recording alone") == 1
    assert trajectory(results(prepared)) == trajectory(alone)


def test_two_machines(prepared: Project, alone: Path, tmp_path: Path) -> None:
    """The first one has what they have computed."""
    other = Project(shutil.copytree(prepared.folder, tmp_path / "other"))
    other.environment = prepared.environment
    place = {"4": "1", "FIRST_MACHINE": "127.0.0.1", "29500": str(free_port()), "NAME": "noisy"}
    first, second = (
        command("torchrun --nnodes", "docs/several_processes.md", **place, **{"0": number}) for number in "01"
    )
    with tempfile.TemporaryFile() as output:
        started = other.start(*second, output=output)
        prepared.run(*first)
        assert started.wait(timeout=60) == 0
    for name, expected in weights(alone, EPOCHS).items():
        np.testing.assert_allclose(weights(results(prepared), EPOCHS)[name], expected, rtol=1e-3, atol=1e-4)
    assert not results(other).exists()


def test_a_killed_process_ends_all_and_others_go_on(prepared: Project, alone: Path) -> None:
    prepared.environment[CODE] += SLOW_END
    (line,) = said(train(prepared, 2, "os.kill(os.getpid(), signal.SIGKILL)", status=1))
    assert line.startswith("process 2 of 2 was ended by SIGKILL, perhaps because memory ran out: ")
    assert line.endswith("run the same command again to continue from there")
    run, _ = only_run(prepared)
    assert run.info.status == "FAILED"
    output = train(prepared, 3)
    assert output.count("noisy: going on after epoch 2") == 1
    run, steps = only_run(prepared)
    assert run.info.status == "FINISHED"
    assert steps == list(range(1, EPOCHS + 1))
    for name, expected in weights(alone, EPOCHS).items():  # by two processes, then by three
        np.testing.assert_allclose(weights(results(prepared), EPOCHS)[name], expected, rtol=1e-3, atol=1e-4)
    lines = [(folder / "history.csv").read_text().splitlines() for folder in (alone, results(prepared))]
    for one, other in zip(*lines, strict=True):
        if one[0].isdigit():
            np.testing.assert_allclose(*(np.fromstring(line, sep=",") for line in (one, other)), rtol=1e-2)


def test_an_error_in_one_process_is_said_once(prepared: Project) -> None:
    error = 'raise InputError([Problem(Path("left/00.png"), message="cannot be read")])'
    assert said(train(prepared, 2, error, status=2)) == ["left/00.png: cannot be read"]
    assert only_run(prepared)[0].info.status == "FAILED"


def test_an_interrupt_ends_all(prepared: Project) -> None:
    prepared.edit("compute.processes", 2)
    prepared.environment[CODE] += IN_SECOND.format("import time; time.sleep(2)")
    with tempfile.TemporaryFile() as output:
        stage = prepared.start("python", "-m", "memtrack.stages.train", "noisy", output=output)
        second = prepared.folder / ".memtrack/train"
        while not list(second.glob("*/states/epoch_0002.pt")):
            time.sleep(0.05)
        stage.send_signal(signal.SIGINT)
        assert stage.wait(timeout=60) == 130
        output.seek(0)
        assert said(output.read().decode()) == ["interrupted"]
    assert only_run(prepared)[0].info.status == "KILLED"


def test_more_processes_than_a_batch_has_samples(prepared: Project) -> None:
    (line,) = said(train(prepared, 6, status=2))
    assert "compute.processes: 6 processes cannot share a batch of 5 samples" in line
