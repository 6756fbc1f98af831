"""A tracking server that stops, hangs and starts again in the middle of a training."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from pages import command
from project_clone import Project
from servers import MlflowServer, wait_for

EPOCHS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path_factory.mktemp("server"))
    shutil.copy(empty_store, started.folder / "server.db")
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def tracked(project: Project, server: MlflowServer) -> Project:
    """A project whose runs go to the server."""
    project.edit("train.epochs", EPOCHS)
    project.edit("tracking.uri", server.uri)
    project.environment |= {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    }
    project.stage("prepare")
    for variant in ("clean", "noisy"):
        project.stage("corrupt", variant)
    return project


class Training:
    """A training of a variant that is under way."""

    def __init__(self, project: Project, variant: str) -> None:
        self.output = project.folder.parent / "output.txt"
        with self.output.open("wb") as file:
            self.process = project.start("python", "-m", "memtrack.stages.train", variant, output=file)

    def end(self) -> str:
        """Wait for it; its output."""
        assert self.process.wait(timeout=300) == 0, self.output.read_text()
        return self.output.read_text()


def trained(project: Project, variant: str) -> int:
    """How many epochs a training that is under way has behind it."""
    return len(list((project.folder / ".memtrack/train").glob(f"{variant}-*/checkpoints/epoch_*.json")))


def runs(server: MlflowServer, variant: str) -> list[Run]:
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("memtrack")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], f"tags.variant = '{variant}'"))


def the_run(server: MlflowServer, variant: str) -> Run:
    (run,) = runs(server, variant)
    return run


def assert_complete(project: Project, server: MlflowServer, variant: str, tmp_path: Path) -> None:
    """The server has every epoch once, the arrays as they are on the disk, and the network."""
    client, run = MlflowClient(server.uri), the_run(server, variant)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == str(EPOCHS)
    assert run.inputs.dataset_inputs
    for metric in ("train_loss", "mean_curvature"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
        assert sorted(steps) == list(range(1, EPOCHS + 1))
    arrays = {Path(entry.path).name for entry in client.list_artifacts(run.info.run_id, "curvature")}
    assert arrays == {"ids.npy", *(f"epoch_{epoch:04d}.npy" for epoch in range(1, EPOCHS + 1))}
    for epoch in (1, EPOCHS // 2, EPOCHS):
        name = f"curvature/epoch_{epoch:04d}.npy"
        there = np.load(client.download_artifacts(run.info.run_id, name, str(tmp_path)))
        here = np.load(project.folder / f"results/train/{variant}/trajectory/{name}")
        np.testing.assert_array_equal(there, here)
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status.name == "READY"


def test_a_server_that_stops_for_good_and_one_that_comes_back(
    tracked: Project, server: MlflowServer, tmp_path: Path
) -> None:
    training = Training(tracked, "noisy")
    wait_for(lambda: trained(tracked, "noisy") > 3, 120)
    server.stop()
    output = training.end()
    assert output.count("does not answer") == 1
    assert "python -m memtrack.upload" in output
    assert (tracked.folder / "results/train/noisy/metrics.json").exists()
    assert "messages are waiting" in tracked.run("python", "-m", "memtrack.upload", status=1)

    # a training that starts while the server is away: the server comes back before it ends
    training = Training(tracked, "clean")
    wait_for(lambda: trained(tracked, "clean") > 3, 120)
    training.process.send_signal(signal.SIGSTOP)
    server.start()
    training.process.send_signal(signal.SIGCONT)
    output = training.end()
    assert output.count("does not answer") == 1
    assert "the MLflow store is back" in output
    assert_complete(tracked, server, "clean", tmp_path)

    output = tracked.run(*command("memtrack upload", "README.md", "docs/stages.md"))
    assert "messages sent" in output
    assert_complete(tracked, server, "noisy", tmp_path)
    assert "nothing is waiting" in tracked.run("python", "-m", "memtrack.upload")


def test_a_server_that_hangs(tracked: Project, server: MlflowServer, tmp_path: Path) -> None:
    tracked.edit("curvature.seed", 1)  # another recording: another run
    for run in runs(server, "noisy"):
        MlflowClient(server.uri).delete_run(run.info.run_id)
    training = Training(tracked, "noisy")
    wait_for(lambda: trained(tracked, "noisy") > 0, 120)
    server.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: training.process.poll() is not None, 120)
    finally:
        server.signal(signal.SIGCONT)
    training.end()
    wait_for(server.answers, 60)
    # the next stage sends what the one before could not
    tracked.stage("evaluate", "noisy")
    assert_complete(tracked, server, "noisy", tmp_path)
    assert "auroc/curvature" in the_run(server, "noisy").data.metrics
