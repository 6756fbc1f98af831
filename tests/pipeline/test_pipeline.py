"""The real thing: `dvc repro` in a clone, in the order in which a user would do these things."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from pages import command
from PIL import Image
from project_clone import CODE, NO_MODEL, NO_TRAINING, WARM, Project, drawing
from safetensors.torch import load_model
from servers import answer, free_port, wait_for
from sklearn.metrics import roc_auc_score

from memtrack.core.evaluation.agreement import MEASURES
from memtrack.core.scores.registry import SCORES
from memtrack.core.training import models

EACH = ("corrupt", "train", "suspects", "averaged", "halves", "evaluate", "duplicates", "quality",
        "report")  # fmt: skip
"""The stages of every variant."""
ALL = {
    "prepare",
    *(f"{stage}@{name}" for stage in EACH for name in ("clean", "noisy")),
    *(f"{stage}@noisy" for stage in ("memorization", "agreement", "published", "utility", "layers")),
}


def runs(project: Project, variant: str) -> list[Run]:
    """The trainings of a variant in the project's own store, newest first."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack")
    found = client.search_runs([experiment.experiment_id], f"tags.variant = '{variant}'")
    return [run for run in found if ", " not in str(run.info.run_name)]


def artifact(run: Run, name: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


def published(project: Project) -> Path:
    """A file with some memorization for the images of the project."""
    path = project.folder.parent / "published.npz"
    names = [f"{name}/{number:02d}" for name in ("left", "right") for number in range(16)]
    np.savez(path, tr_mem=np.linspace(-0.1, 1, 32), tr_labels=np.repeat([0, 1], 16), tr_filenames=names)
    return path


def plant(images: Path) -> None:
    """Put training images into the test split, and make one dark and one long."""
    shutil.copy(images / "train/left/00.png", images / "test/left/00.png")
    shutil.copy(images / "train/left/01.png", images / "test/right/01.png")
    dark, long = images / "train/right/05.png", images / "train/right/06.png"
    Image.open(dark).point(lambda value: value // 4).save(dark)
    Image.open(long).resize((8, 40), Image.Resampling.NEAREST).save(long)


@pytest.fixture(scope="module")
def reproduced(project: Project) -> Project:
    """The project after its first `dvc repro`, with memorization of six networks.

    One variant is trained without the warm process, as a user starts the stage; DVC finds it trained.
    """
    plant(project.folder.parent / "images")
    project.edit("memorization", {
        "variants": ["noisy"], "published": {"noisy": str(published(project))}, "models": 6,
        "recipe": project.params("memorization.recipe") | {"batch_size": 8},
    })  # fmt: skip
    project.edit("utility", {"variants": ["noisy"], "models": 2, "thresholds": [0.3]})
    project.edit("halves", {"variants": ["noisy"], "turn_over": True})
    project.edit("layers", {"variants": {"noisy": {"pruned": [0.9, 0.5], "linear": 20}}})
    project.edit("evaluate.scores", [*project.params("evaluate.scores"), "rho", "ssft", "turn_over"])
    project.edit("record.batch_size", None)
    (project.folder / "mlflow.db").unlink()
    ran = project.ran(project.run("dvc", "repro", "corrupt@noisy"))
    project.stage("train", "noisy", real=True)
    project.environment[CODE] += NO_TRAINING
    ran += project.ran(project.run("dvc", "repro", "train@noisy"))
    project.environment[CODE] = project.environment[CODE].replace(NO_TRAINING, "")
    assert ran == ["prepare", "corrupt@noisy", "train@noisy"]
    project.environment[CODE] += NO_MODEL
    with drawing(project):
        output = project.run(*command("dvc repro", "README.md", "docs/stages.md", "docs/comparing.md"))
    assert {*ran, *project.ran(output)} == ALL
    assert not set(ran) & set(project.ran(output))
    assert "clean: no label is known to be corrupted" in output
    assert "clean: without rho, ssft, turn_over" in output
    return project


def test_scores_agree_with_the_arrays_and_scikit_learn(reproduced: Project) -> None:
    folder = reproduced.folder / "results"
    table = pd.read_csv(folder / "evaluate/noisy/scores.csv").set_index("id")
    ids = np.load(folder / "train/noisy/trajectory/ids.npy", allow_pickle=False)
    assert set(ids) == {f"train/{side}/{n:02d}.png" for side in ("left", "right") for n in range(16)}
    epochs = [np.load(folder / f"train/noisy/trajectory/curvature/epoch_000{e}.npy") for e in (1, 2)]
    assert all(array.dtype == np.float32 and array.shape == (32,) for array in epochs)
    np.testing.assert_allclose(table.loc[ids, "curvature"], np.mean(epochs, axis=0), rtol=1e-6)
    half = pd.read_csv(folder / "halves/noisy/halves.csv").set_index("id")
    last = pd.Series(np.load(folder / "train/noisy/trajectory/loss/epoch_0002.npy"), ids)
    np.testing.assert_allclose(table.loc[ids, "rho"], half.loc[ids, "holdout_loss"] - last, rtol=1e-5)
    assert (table.loc[ids, "ssft"] == -half.loc[ids, "forgotten"]).all()
    difference = np.load(folder / "halves/noisy/turn_over.npy")
    assert table.loc[ids, "turn_over"].tolist() == pytest.approx(difference.tolist())
    assert half["half"].value_counts().tolist() == [16, 16]
    assert table["corrupted"].sum() == 8
    assert ((table["given_label"] != table["clean_label"]) == table["corrupted"].astype(bool)).all()
    metrics = json.loads((folder / "evaluate/noisy/metrics.json").read_text())
    for score, judged in metrics["scores"].items():
        assert judged["auroc"] == pytest.approx(roc_auc_score(table["corrupted"], table[score]))
    assert json.loads((folder / "evaluate/clean/metrics.json").read_text())["scores"] == {}
    pictures = {path.name for path in (folder / "evaluate/noisy/pictures").iterdir()}
    assert pictures == {
        "roc.png",
        "review.png",
        "histograms.png",
        "curvature.png",
        "highest_curvature.png",
        "highest_suspicion.png",
    }


def test_without_parts_of_the_network(reproduced: Project) -> None:
    folder = reproduced.folder / "results"
    scores = pd.read_csv(folder / "evaluate/noisy/scores.csv").set_index("id")
    samples = pd.read_csv(folder / "layers/noisy/samples.csv").set_index("id")
    assert samples.index[samples["memorized"] == 1].sort_values().tolist() == sorted(
        scores["curvature"].nlargest(3).index
    )
    right = np.load(folder / "train/noisy/trajectory/correct/epoch_0002.npy")
    by_layer, by_share = (pd.read_csv(folder / f"layers/noisy/{name}.csv") for name in ("layers", "pruning"))
    assert by_share["pruned"].tolist() == [0, 0.5, 0.9]
    assert by_layer["layer"].is_unique
    groups = {
        "memorized": samples["memorized"] == 1,
        "corrupted": scores.loc[samples.index, "corrupted"] == 1,
    }
    groups |= {"others": ~groups["memorized"], "clean": ~groups["corrupted"]}
    for table in (by_layer, by_share):  # the first row is the whole network
        assert dict(table.iloc[0, 1:]) == pytest.approx(
            {key: right[rows].mean() for key, rows in groups.items()}
        )
    assert (samples["pruned_away"] == 0).tolist() == (
        ~right.astype(bool) & (samples["pruned_away"] == 0)
    ).tolist()
    metrics = json.loads((folder / "layers/noisy/metrics.json").read_text())
    corrupted = groups["corrupted"].to_numpy()
    assert metrics["pruning_auroc"] == pytest.approx(roc_auc_score(corrupted, -samples["pruned_away"]))
    linear = metrics["linear"]
    assert linear["models"] == 20
    for features in ("seen", "unseen"):
        values = samples[f"linear_{features}"]
        assert linear[features] == (values > 0.25).sum()
        assert linear[f"{features}_memorized"] == pytest.approx(values[groups["memorized"]].mean())
    assert {path.name for path in (folder / "layers/noisy/pictures").iterdir()} == {
        "layers.png",
        "pruning.png",
    }


def test_what_else_is_wrong(reproduced: Project) -> None:
    folder = reproduced.folder / "results/quality/clean"
    table = pd.read_csv(folder / "issues.csv", keep_default_na=False)
    assert set(table["split"]) <= {"train", "test"}
    ends = {
        kind: set(zip(part["id"], part["other_id"], strict=True)) for kind, part in table.groupby("issue")
    }
    assert ("train/left/00.png", "test/left/00.png") in ends["leak"]
    assert ("train/left/01.png", "test/right/01.png") in ends["conflicting_leak"]
    assert ends["dark"] == {("train/right/05.png", "")}
    assert ends["odd_aspect_ratio"] == {("train/right/06.png", "")}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["train"]["dark"] == 1
    assert (folder / "pictures/issues.png").exists()
    (run,) = runs(reproduced, "clean")
    assert run.data.metrics["quality/train/dark"] == 1
    assert artifact(run, "quality/issues.csv").read_bytes() == (folder / "issues.csv").read_bytes()


def test_suspects_go_out_and_decisions_come_back(reproduced: Project) -> None:
    ranked = pd.read_csv(reproduced.folder / "results/evaluate/noisy/scores.csv").head(3)
    export = command("memtrack export", "docs/stages.md", "docs/review.md", NAME="noisy")
    output = reproduced.run(*export, "--samples", "3", "--url", "http://x/")
    assert "results/export/noisy/label-studio: 3 tasks" in output
    path = reproduced.folder / "results/export/noisy/label-studio/tasks.json"
    tasks = json.loads(path.read_text())
    assert [task["data"]["id"] for task in tasks] == ranked["id"].tolist()
    assert [task["data"]["image"] for task in tasks] == [f"http://x/{sample}" for sample in ranked["id"]]
    for task, label in zip(tasks, ("left", "(remove)"), strict=False):
        result = [{"from_name": "label", "value": {"choices": [label]}}]
        task["annotations"] = [{"id": 1, "completed_by": 2, "result": result}]
    tasks[2]["annotations"] = []
    path.write_text(json.dumps(tasks))
    arguments = command("memtrack import", "docs/stages.md", NAME="noisy", FILE=str(path))
    assert "decisions/noisy.csv: 2 decisions" in reproduced.run(*arguments)
    arguments = command("memtrack import", "docs/review.md", NAME="noisy", export_json=str(path))
    assert "is there already" in reproduced.run(*arguments, status=2)
    decisions = pd.read_csv(reproduced.folder / "decisions/noisy.csv", keep_default_na=False)
    assert decisions["id"].tolist() == ranked["id"].tolist()[:2]
    first = "keep" if ranked["given_label"][0] == "left" else "relabel"
    assert decisions["decision"].tolist() == [first, "remove"]
    export = command("memtrack export fiftyone", "docs/review.md", NAME="noisy")
    output = reproduced.run(*export, "--samples", "3")
    assert "data_path='data.json'" in output
    files = json.loads((reproduced.folder / "results/export/noisy/fiftyone/data.json").read_text())
    images = reproduced.folder.parent / "images"
    assert list(files.values()) == [str(images / sample) for sample in ranked["id"]]


def test_mlflow_holds_the_run(reproduced: Project) -> None:
    (run,) = runs(reproduced, "noisy")
    assert run.info.status == "FINISHED"
    assert run.data.params["curvature.perturbation_scale"] == "0.03"
    assert run.data.params["variant.rate"] == "0.25"
    lock = (reproduced.folder / "dvc.lock").read_text()
    assert run.data.tags["dvc_data_hash"] in lock
    head = reproduced.run("git", "rev-parse", "HEAD").strip()
    assert run.data.tags["mlflow.source.git.commit"] == head
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == run.data.tags["dvc_variant_hash"][:36]

    trajectory = reproduced.folder / "results/train/noisy/trajectory"
    np.testing.assert_array_equal(
        np.load(artifact(run, "curvature/epoch_0002.npy")), np.load(trajectory / "curvature/epoch_0002.npy")
    )
    np.testing.assert_array_equal(
        np.load(artifact(run, "curvature/ids.npy")), np.load(trajectory / "ids.npy")
    )
    for name in ("scores/curvature.npy", "scores/csl.npy", "scores/scores.csv", "pictures/roc.png"):
        assert artifact(run, name).is_file()

    client = MlflowClient(f"sqlite:///{reproduced.folder}/mlflow.db")
    for metric in ("train_loss", "test_accuracy", "mean_curvature", "curvature_auroc_so_far"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, metric)] == [1, 2]
    table = pd.read_csv(artifact(run, "scores/scores.csv"))
    expected = roc_auc_score(table["corrupted"], table["aum"])
    assert run.data.metrics["auroc/aum"] == pytest.approx(expected)
    with sqlite3.connect(reproduced.folder / "mlflow.db") as store:
        (points,) = store.execute(
            "select count(*) from metrics where run_uuid = ?", (run.info.run_id,)
        ).fetchone()
    assert points < 16 + (6 + 2 * len(MEASURES)) * len(SCORES) + 20, (
        "metrics are per epoch and per score, never per sample"
    )


def test_the_interface_of_mlflow_has_the_run(reproduced: Project) -> None:
    port = str(free_port())
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search"
    show = command("mlflow ui", "docs/stages.md")
    reproduced.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes
    (experiment,) = {run.info.experiment_id for run in runs(reproduced, "noisy")}
    asked = {"experiment_ids": [experiment], "filter": "tags.variant = 'noisy'"}
    found = answer(reproduced, address, *show, "--port", port, "--workers", "1", json=asked)
    assert "noisy" in [run["info"]["run_name"] for run in found["runs"]]


def test_the_logged_model_answers_like_the_last_checkpoint(reproduced: Project) -> None:
    (run,) = runs(reproduced, "noisy")
    mlflow.set_tracking_uri(f"sqlite:///{reproduced.folder}/mlflow.db")
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    inputs = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    network = models.cnn((1, 8, 8), 2, width=4, depth=1, dropout=0.0).eval()
    load_model(network, reproduced.folder / "results/train/noisy/checkpoints/epoch_0002.safetensors")
    expected = network(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(model.predict(inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_second_run_has_nothing_to_do(reproduced: Project) -> None:
    environment = reproduced.folder / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(os.environ[WARM])
    (environment / ".ready").touch()  # `make` has installed everything
    output = reproduced.run(*command("make run", "README.md"))
    assert output.startswith("params.yaml: ok\n")
    assert "Which score finds the corrupted labels?" in output
    assert reproduced.ran(output) == []
    assert reproduced.changed() == set()
    shutil.rmtree(environment)
    show = command("dvc metrics show", "README.md", "docs/stages.md", "docs/comparing.md")
    assert "auroc" in reproduced.run(*show)
    reproduced.run(*command("dvc plots show", "README.md", "docs/stages.md"), "--out", "plots")
    assert "true_positive_rate" in (reproduced.folder / "plots/index.html").read_text()
    shutil.rmtree(reproduced.folder / "plots")
    assert "symmetric" not in reproduced.run("git", "status", "--short")


def test_the_table_of_results(reproduced: Project) -> None:
    table = command(
        "memtrack results", "README.md", "docs/stages.md", "docs/comparing.md", "docs/memorization.md"
    )
    output = reproduced.run(*table)
    judged = json.loads((reproduced.folder / "results/evaluate/noisy/metrics.json").read_text())
    assert f"{judged['scores']['curvature']['auroc']:.4f}" in output
    assert f"mlflow ui --backend-store-uri sqlite:///{reproduced.folder}/mlflow.db" in output
    assert "noisy: in networks that never saw the sample" in output
    assert "clean: in networks" not in output
    assert "noisy: without what " in output


def test_another_clone_pulls_and_opens_a_run_of_its_own(reproduced: Project, tmp_path: Path) -> None:
    reproduced.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    reproduced.commit()
    reproduced.run("dvc", "push")
    reproduced.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull")
    assert clone.changed() == set()
    output = clone.run("dvc", "repro", "--force", "--single-item", "evaluate@noisy")
    assert "does not have the run that trained noisy" in output
    (run,) = runs(clone, "noisy")
    (original,) = runs(reproduced, "noisy")
    assert run.info.run_id != original.info.run_id
    assert run.data.tags["memtrack_run"] == original.data.tags["memtrack_run"]
    assert run.data.metrics["auroc/curvature"] == original.data.metrics["auroc/curvature"]


def test_an_experiment_from_the_queue_lands_in_the_one_store(reproduced: Project) -> None:
    before = len(runs(reproduced, "noisy"))
    queue = command("dvc exp run --queue", "README.md", "docs/stages.md")
    reproduced.run(*queue, "--name", "wider", "evaluate@noisy")
    reproduced.run(*command("dvc queue start", "README.md", "docs/stages.md"))
    wait_for(lambda: any((reproduced.folder / ".git/refs/exps").rglob("wider")), 120)
    output = reproduced.run("dvc", "queue", "logs", "wider")
    assert "recording alone" in output, "the copy has the checkpoints"
    newest, *_ = found = runs(reproduced, "noisy")
    assert len(found) == before + 1
    assert newest.data.params["curvature.perturbation_scale"] == "0.1"
    assert newest.data.tags["dvc_experiment"] == "wider"
    assert newest.info.run_name == "noisy (wider)"
    assert artifact(newest, "curvature/epoch_0002.npy").is_relative_to(reproduced.folder / "mlruns")
    assert artifact(newest, "scores/scores.csv").is_file()


def test_experiments_in_the_workspace(reproduced: Project) -> None:
    folder = reproduced.folder / "results/train/clean"

    def tried(experiment: list[str]) -> tuple[int, list[str]]:
        """How many epochs it has trained, and which ones it has recorded."""
        assert reproduced.ran(reproduced.run(*experiment, "train@clean")) == ["train@clean"]
        recorded = (path.stem for path in folder.glob("trajectory/curvature/epoch_*"))
        return len(pd.read_csv(folder / "history.csv")), sorted(recorded)

    reproduced.edit("record.epochs", {"kind": "every", "interval": 2})
    reproduced.environment[CODE] += NO_TRAINING
    assert tried(command("dvc exp run -S curvature", "docs/resuming.md")) == (2, ["epoch_0002"])
    before = np.load(folder / "trajectory/curvature/epoch_0002.npy")
    every = command("dvc exp run -S record", "docs/resuming.md")
    assert tried(every) == (2, ["epoch_0001", "epoch_0002"])
    assert (np.load(folder / "trajectory/curvature/epoch_0002.npy") == before).all()
    reproduced.environment[CODE] = reproduced.environment[CODE].replace(NO_TRAINING, "")
    epochs, recorded = tried(command("dvc exp run -S train", "README.md", "docs/stages.md"))
    assert epochs == len(recorded) == 5
    reproduced.run("git", "checkout", "-q", "params.yaml", "dvc.lock")
    reproduced.run("dvc", "checkout", "-q", "train@clean")
    assert reproduced.changed() == set()


def test_a_new_score_concerns_those_alone_who_read_scores_and_a_comment_nobody(reproduced: Project) -> None:
    scores = reproduced.folder / "memtrack/core/scores/from_trajectory.py"
    before = scores.read_text()
    scores.write_text(before + "# a comment\n")
    reproduced.run("dvc", "repro", "code")
    assert reproduced.changed() == set()
    scores.write_text(before + "\n\ndef newcomer() -> None:\n    pass\n")
    reproduced.run("dvc", "repro", "code")
    found = reproduced.changed()
    scores.write_text(before)
    reproduced.run("dvc", "repro", "code")
    readers = {
        f"{stage}@{name}"
        for stage in ("suspects", "averaged", "evaluate", "quality", "report")
        for name in ("clean", "noisy")
    }
    assert found == {*readers, "agreement@noisy", "published@noisy"}
    assert reproduced.changed() == set()


def test_only_what_depends_on_a_change_runs(reproduced: Project) -> None:
    reproduced.edit("curvature.probes", 2)
    output = reproduced.run("dvc", "repro", "train@clean")
    assert reproduced.ran(output) == ["train@clean"]
    assert "clean: was trained before with these settings" in output
    stages = ("suspects", "averaged", "evaluate", "duplicates", "quality", "report")
    depending = {f"{stage}@clean" for stage in stages}
    others = {"train@noisy", "suspects@noisy", "averaged@noisy"}
    assert reproduced.changed() == depending | others
    reproduced.edit("curvature.probes", 1)
    depending |= {"train@clean"}

    labels = reproduced.folder.parent / "people.csv"
    ids = np.load(reproduced.folder / "results/train/noisy/trajectory/ids.npy")
    rows = pd.DataFrame({"id": ids, "label": [name.split("/")[1] for name in ids]})
    rows.loc[:2, "label"] = "right"
    rows.to_csv(labels, index=False)
    reproduced.edit("variants.people", {"kind": "from_file", "labels": str(labels)})
    output = reproduced.run(
        *command("dvc repro evaluate@", "docs/stages.md", evaluate_NAME="evaluate@people")
    )
    first, *between, last = reproduced.ran(output)
    assert (first, last) == ("corrupt@people", "evaluate@people")
    assert set(between) == {f"{stage}@people" for stage in ("train", "suspects", "averaged", "halves")}

    reproduced.edit("memorization.models", 7)
    agree = command("dvc repro agreement@", "docs/memorization.md", agreement_NAME="agreement@noisy")
    assert reproduced.ran(reproduced.run(*agree)) == ["memorization@noisy", "agreement@noisy"]
    useful = command("dvc repro utility@", "docs/memorization.md", utility_NAME="utility@noisy")
    assert reproduced.ran(reproduced.run(*useful)) == ["utility@noisy"]
    depending |= {"duplicates@people", "quality@people", "report@people"}
    assert reproduced.changed() == depending

    rows.loc[3, "label"] = "right"
    rows.to_csv(labels, index=False)
    # two images of a class change places: no table and no statistic can tell, the pixels do
    first, second = (reproduced.folder.parent / f"images/train/left/0{n}.png" for n in (0, 1))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert reproduced.changed() == {*depending, "corrupt@people", "prepare"}
    assert reproduced.ran(reproduced.run("dvc", "repro", "prepare")) == ["prepare"]
    assert {"train@clean", "train@noisy"} <= reproduced.changed()


def test_bad_input_is_said_without_a_traceback(reproduced: Project) -> None:
    reproduced.stage("corrupt", "noisy")  # the data set was prepared anew
    reproduced.edit("curvature.probes", 0)
    output = reproduced.stage("train", "noisy", status=2)
    assert "curvature.probes: 0: should be greater than or equal to 1" in output
    assert "Traceback" not in output
    reproduced.edit("curvature.probes", 1)
    # the later stages say it before they read the results of the others, which are outdated here
    stages = ("train", "evaluate", "duplicates", "quality", "agreement")
    for uri, stage in (("mysql://nowhere/x", "train"), *(("nonsense", stage) for stage in stages)):
        reproduced.edit("tracking.uri", uri)
        output = reproduced.stage(stage, "noisy", status=2)
        assert f"tracking.uri: the MLflow store {uri} cannot be used" in output
        assert "Traceback" not in output
    reproduced.edit("tracking.uri", None)
    reproduced.edit("train.optimizer.lr", 1000)
    reproduced.edit("train.optimizer.weight_decay", 100)
    output = reproduced.stage("train", "noisy", status=1)
    assert "diverged" in output
    assert "Traceback" not in output
    assert runs(reproduced, "noisy")[0].info.status == "FAILED"
