"""`python -m memtrack.tune` on a small trained project: its numbers, its going on, its refusals."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from pages import command
from project_clone import CODE, NO_MODEL, Project, drawing, unlogged
from safetensors.torch import load_file
from servers import answer, free_port
from sklearn.metrics import roc_auc_score

from memtrack import curvature
from memtrack.core.training import models
from memtrack.tune.plan import halves

Tune = Callable[..., str]


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    """Three epochs on the variant with known corruption, and on another draw of it."""
    project.environment[CODE] += NO_MODEL
    project.edit("train.epochs", 3)
    project.edit("variants.other", {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25, "seed": 1})
    project.edit("variants.same", {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25})
    project.stage("prepare")
    for variant in ("other", "same"):
        with unlogged(project):
            project.stage("corrupt", variant)
            project.stage("train", variant)
    project.stage("corrupt", "noisy")
    project.stage("train", "noisy")
    return project


@pytest.fixture
def tune(trained: Project) -> Tune:
    """Run the search with some options; its output."""
    return trained.tune


@dataclass(frozen=True)
class First:
    """What the first five trials of the study `first` left; other tests add to it."""

    output: str
    trials: list[optuna.trial.FrozenTrial]
    outcome: dict[str, Any]
    points: pd.DataFrame


@pytest.fixture(scope="module")
def first(trained: Project) -> First:
    with drawing(trained):
        trained.place_study()
        search = command("memtrack tune", "README.md", "docs/stages.md", "docs/tune.md")
        output = trained.run(*search, "--trials", "5", "--study", "first", "--pruner", "none")
    folder = trained.folder / "results/tune/first"
    outcome = json.loads((folder / "outcome.json").read_text())
    return First(output, trials(trained, "first"), outcome, pd.read_csv(folder / "curve.csv"))


@contextmanager
def edited(project: Project, key: str, value: object) -> Iterator[None]:
    """With another value in params.yaml for a while."""
    parameters = project.folder / "params.yaml"
    before = parameters.read_text()
    project.edit(key, value)
    try:
        yield
    finally:
        parameters.write_text(before)


def trials(project: Project, study: str) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{project.folder}/.memtrack/tune/study.db"
    return optuna.load_study(study_name=study, storage=storage).trials


def measured_again(project: Project, h: float, n: int) -> tuple[float, float]:
    """The AUROC on either half of the samples."""
    values, corrupted = scores_again(project, h, n, "noisy")
    first, second = (roc_auc_score(corrupted[rows], values[rows]) for rows in halves(corrupted))
    return first, second


@cache
def scores_again(project: Project, h: float, n: int, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """The score and who is corrupted, from the checkpoints, one sample at a time."""
    folder = project.folder
    record = json.loads((folder / "data/prepared/dataset.json").read_text())
    table = pd.read_csv(folder / f"data/variants/{variant}/labels.csv")
    pixels = np.stack([_image(project, name) for name in table["id"]])
    mean, std = (np.float32(record[name])[:, None, None] for name in ("mean", "std"))
    inputs = torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std)
    labels = torch.tensor([record["classes"].index(name) for name in table["given_label"]])
    found = np.zeros(len(table))
    for epoch in (1, 2, 3):
        model = models.build(kind="cnn", shape=(1, 8, 8), classes=2, width=4, depth=1, dropout=0.0)
        weights = folder / f"results/train/{variant}/checkpoints/epoch_{epoch:04d}.safetensors"
        model.load_state_dict(load_file(weights))
        for row, (image, label) in enumerate(zip(inputs, labels, strict=True)):
            found[row] += curvature(model, image[None], label[None], scale=h, probes=n, epoch=epoch).item()
    return found, table["corrupted"].to_numpy().astype(bool)


def _image(project: Project, name: str) -> np.ndarray:
    from PIL import Image
    from ruamel.yaml import YAML

    root = YAML(typ="safe").load(project.folder / "params.yaml")["data"]["root"]
    return np.asarray(Image.open(Path(root) / name))[None]


def test_trials_are_what_the_checkpoints_say(first: First, project: Project) -> None:
    done, outcome = first.trials, first.outcome
    assert len(done) == 5
    assert done[0].params == {"perturbation_scale": 0.03, "probes": 1}  # what params.yaml says comes first
    for trial in done:
        expected, _ = measured_again(project, trial.params["perturbation_scale"], trial.params["probes"])
        assert trial.value == pytest.approx(expected, abs=1e-9)
    winner = outcome["winner"]
    for name, half in (("chosen", 0), ("confirmed", 1)):
        expected = measured_again(project, winner["perturbation_scale"], winner["probes"])[half]
        assert outcome[name]["first"] == pytest.approx(expected, abs=1e-9)
        assert outcome[name]["second"] == pytest.approx(measured_again(project, 0.03, 1)[half], abs=1e-9)
    assert outcome["looked"] == 5
    assert outcome["verdict"] in first.output
    assert set(first.points["probes"]) == {1, 2, 3, 4, 5}
    assert {0.0001, 0.01, 1.0} <= set(first.points["perturbation_scale"])


@pytest.mark.skipif(find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed")
def test_the_dashboard_shows_the_study(first: First, project: Project) -> None:
    port = str(free_port())
    options = "--port", port, "--server", "wsgiref"  # the other one takes 30 s to end
    dashboard = [*command("optuna-dashboard", "docs/tune.md"), *options]
    found = answer(project, f"http://127.0.0.1:{port}/api/studies", *dashboard)
    assert "first" in [study["study_name"] for study in found["study_summaries"]]


def test_a_study_goes_on(first: First, tune: Tune, project: Project) -> None:
    before = [(trial.params, trial.value) for trial in trials(project, "first")]
    count = len(before)
    tune("--trials", str(count + 2), "--study", "first", "--pruner", "none")
    after = [(trial.params, trial.value) for trial in trials(project, "first")]
    assert len(after) == count + 2
    assert after[:count] == before


def test_the_winner_lies_within_narrower_ranges(first: First, tune: Tune, project: Project) -> None:
    """Earlier trials of the study may not."""
    (project.folder / "narrow.yaml").write_text(
        "perturbation_scale: {low: 0.2, high: 1.0}\nprobes: {low: 1, high: 2}\n"
    )
    more = str(len(trials(project, "first")) + 2)
    tune("--search", "narrow.yaml", "--study", "first", "--trials", more, "--pruner", "none")
    winner = json.loads((project.folder / "results/tune/first/outcome.json").read_text())["winner"]
    setting = winner["perturbation_scale"], winner["probes"]
    assert setting == (0.03, 1) or (setting[0] >= 0.2 and setting[1] <= 2)


def test_the_same_seed_gives_the_same_trials(tune: Tune, project: Project) -> None:
    for study in ("second", "third"):
        with unlogged(project):
            tune("--trials", "4", "--study", study, "--seed", "3")
    one, other = ([(trial.params, trial.value, trial.intermediate_values, trial.state)
                   for trial in trials(project, study)] for study in ("second", "third"))  # fmt: skip
    assert one == other


def test_parent_and_child_runs(first: First, project: Project) -> None:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack").experiment_id

    def runs(condition: str) -> list[Any]:
        return list(client.search_runs([experiment], condition, order_by=["attributes.start_time"]))

    (parent,) = runs("tags.`mlflow.runName` = 'tune first'")
    assert parent.info.status == "FINISHED"
    children = runs(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    done = trials(project, "first")
    assert len(children) == len(done)
    for child in children:
        trial = done[int(child.info.run_name.split()[1])]
        assert child.data.params == {name: str(value) for name, value in trial.params.items()}
        assert child.data.metrics["auroc"] == pytest.approx(trial.value)
        history = client.get_metric_history(child.info.run_id, "auroc_so_far")
        assert [(point.step, point.value) for point in history] == list(trial.intermediate_values.items())
    training = client.get_run(parent.data.tags["training_run"])
    assert training.data.params["train.epochs"] == "3"
    assert "tune_run" in training.data.tags
    files = {Path(entry.path).name for entry in client.list_artifacts(parent.info.run_id, "tune")}
    assert {"trials.csv", "curve.png", "history.png", "slice.png"} <= files


def test_two_objectives(tune: Tune, project: Project) -> None:
    with drawing(project), unlogged(project):
        output = tune("--trials", "5", "--study", "front", "--objectives", "auroc", "cost")
    done = trials(project, "front")
    costs = {trial.params["probes"]: trial.values[1] for trial in done}
    numbers = sorted(costs)
    assert len(numbers) >= 2
    assert costs[numbers[0]] > 1
    slopes = [(costs[m] - costs[n]) / (m - n) for n, m in itertools.pairwise(numbers)]
    assert min(slopes) > 0
    assert slopes == pytest.approx([slopes[0]] * len(slopes))
    assert "the Pareto front of" in output
    assert (project.folder / "results/tune/front/pareto_front.png").exists()
    best = max(trial.values[0] for trial in done)
    outcome = json.loads((project.folder / "results/tune/front/outcome.json").read_text())
    assert outcome["chosen"]["first"] == pytest.approx(best)


BETTER = """
from dataclasses import replace
from memtrack.core.evaluation.detection import Difference
judge = tune.report.judge
def better(search):
    found = judge(search)
    winner = replace(found.default, perturbation_scale=0.5, probes=3)
    return replace(found, winner=winner, confirmed=Difference(0.9, 0.8, 0.1, 0.05, 0.15))
tune.report.judge = better
"""
"""On 32 images nothing is better beyond the noise: as if it were."""


def test_a_better_setting_is_offered_and_written(trained: Project, project: Project) -> None:
    parameters = project.folder / "params.yaml"
    before = parameters.read_text()
    with unlogged(project):
        output = project.tune("--study", "better", "--trials", "2", code=BETTER)
    assert "a change is recommended" in output
    assert "dvc exp run -S curvature.perturbation_scale=0.5 -S curvature.probes=3" in output
    assert parameters.read_text() == before
    try:
        project.tune("--study", "better", "--trials", "2", "--write", code=BETTER)
        written = parameters.read_text()
    finally:
        parameters.write_text(before)
    # the test's own edits have left nulls empty
    lines = [text.replace(": null", ":").splitlines() for text in (before, written)]
    pairs = [(old, new) for old, new in zip(*lines, strict=True) if old.split() != new.split()]
    assert [new.split("#")[0].strip() for _, new in pairs] == ["perturbation_scale: 0.5", "probes: 3"]


def test_a_winner_within_the_noise_is_not_written(first: First, tune: Tune, project: Project) -> None:
    before = (project.folder / "params.yaml").read_text()
    output = tune("--study", "first", "--trials", "5", "--pruner", "none", "--write")
    assert "o change is recommended" in output
    assert (project.folder / "params.yaml").read_text() == before


def test_another_variant_confirms(tune: Tune, project: Project) -> None:
    with unlogged(project):
        tune("--study", "other", "--trials", "2", "--held-out", "other", "--pruner", "none")
    outcome = json.loads((project.folder / "results/tune/other/outcome.json").read_text())
    assert outcome["held_out"] == "the variant other"
    winner = outcome["winner"]
    for name, variant in (("chosen", "noisy"), ("confirmed", "other")):
        values, corrupted = scores_again(project, winner["perturbation_scale"], winner["probes"], variant)
        assert outcome[name]["first"] == pytest.approx(roc_auc_score(corrupted, values), abs=1e-9)


def test_a_tracking_server_that_is_away_stops_nothing(tune: Tune, project: Project) -> None:
    with edited(project, "tracking.uri", "http://127.0.0.1:9"):  # nothing listens there
        output = tune("--study", "away", "--trials", "3")
    assert "Tables and pictures: results/tune/away/" in output
    assert len(trials(project, "away")) == 3
    assert output.count("does not answer") == 1
    waiting = [path.read_text() for path in (project.folder / ".memtrack/mlflow").rglob("*.json*")]
    assert any("trial 2" in text for text in waiting)


def test_choices_of_epochs_norm_and_score(first: First, tune: Tune, project: Project) -> None:
    search = project.folder / "search.yaml"
    search.write_text(
        "epochs: [{kind: every}, {kind: list, epochs: [2]}]\nnorm: [plain, squared]\n"
        "score: [curvature_last, curvature_log]\nsampler: random\n"
    )
    with unlogged(project):
        tune("--search", "search.yaml", "--study", "choices", "--trials", "8", "--pruner", "none")
    done = trials(project, "choices")
    assert {trial.params["epochs"] for trial in done} == {"every 1", "epochs 2"}
    for trial in done:
        assert len(trial.intermediate_values) == (3 if trial.params["epochs"] == "every 1" else 1)
    output = tune("--search", "search.yaml", "--study", "first", "--trials", "12", status=2)
    assert "the study 'first'" in output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--variant", "clean"), "the variant clean is not trained yet: run `dvc repro train@clean`"),
        (("--variant", "nosy"), "there is no such variant; there are: clean, noisy, other, same"),
        (("--trials", "0"), "greater than or equal to 1"),
        (("--storage", "mysqll://x"), "command line: storage: cannot be used"),
        (("--storage", "postgresql+psycopg://u:se:cret@x@host/d"), "command line: storage: is no URL"),
        (("--storage", "sqlite:////nowhere/study.db"), "command line: storage: cannot be used"),
        (("--held-out", "same"), "command line: held_out: has the same labels as noisy"),
        (("--study", "first", "--objectives", "auroc", "cost"), "command line: study: the study 'first'"),
        (("--sampler", "tpee"), "invalid choice: 'tpee'"),
        (("--objectives", "cost"), "objectives should be [auroc] or [memorization], or one of them and cost"),
    ],
)
def test_bad_input(first: First, tune: Tune, options: tuple[str, ...], said: str) -> None:
    output = tune(*options, status=2)
    assert said in output
    assert "Traceback" not in output
    assert "cret" not in output


def test_checkpoints_of_other_parameters_are_not_used(tune: Tune, project: Project) -> None:
    with edited(project, "train.seed", 5):
        output = tune("--trials", "1", status=2)
    assert "was trained before what is in force now was changed (train)" in output
    assert "dvc repro train@noisy" in output


def test_labels_made_with_other_parameters_are_not_used(tune: Tune, project: Project) -> None:
    with edited(project, "variants.noisy.rate", 0.5):
        output = tune("--trials", "1", status=2)
    assert "variants.noisy.rate: was 0.25 when data/variants/noisy was made" in output
    assert "dvc repro train@noisy" in output


@pytest.mark.parametrize(("other", "said"), [(False, "is not there"), (True, "(different: labels)")])
def test_a_trajectory_that_is_missing_or_of_another_variant(
    tune: Tune, project: Project, other: bool, said: str
) -> None:
    trajectory = project.folder / "results/train/noisy/trajectory"
    trajectory.rename(trajectory.with_name("elsewhere"))
    if other:
        shutil.copytree(project.folder / "results/train/other/trajectory", trajectory)
    try:
        output = tune("--study", "new", "--trials", "1", status=2)
    finally:
        shutil.rmtree(trajectory, ignore_errors=True)
        trajectory.with_name("elsewhere").rename(trajectory)
    assert f"{said}: run `dvc repro train@noisy`" in output


def test_no_time_for_a_trial(tune: Tune) -> None:
    output = tune("--study", "no time", "--timeout", "1e-9", status=1)
    assert "no trial was run to its end" in output


@pytest.mark.parametrize(("damage", "said"), [("missing", "epoch 2 is not there"), ("broken", "is damaged")])
def test_a_checkpoint_that_is_missing_or_damaged(
    tune: Tune, project: Project, damage: str, said: str
) -> None:
    path = project.folder / "results/train/noisy/checkpoints/epoch_0002.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "broken":
        path.write_bytes(content[:-1] + b"x")
    shutil.rmtree(project.folder / ".memtrack/probe_norms", ignore_errors=True)
    try:
        output = tune("--study", damage, "--trials", "3", "--pruner", "none", status=2)
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    assert said in output
    assert "epoch_0002.safetensors" in output
    assert "dvc repro train@noisy" in output
    if damage == "broken":  # what was begun is the first to be run again
        tune("--study", damage, "--trials", "3", "--pruner", "none")
        states = [(trial.params, trial.state.name) for trial in trials(project, damage)]
        assert states[0] == (states[1][0], "FAIL")
        assert [state for _, state in states[1:]] == ["COMPLETE"] * 3


def test_repro_trains_what_is_not_trained_yet(trained: Project, tmp_path: Path) -> None:
    copy = Project(shutil.copytree(trained.folder, tmp_path / "copy"))
    copy.edit("train.seed", 5)
    output = copy.tune("--repro", "--study", "repro", "--trials", "1")
    assert "train@noisy" in output
    assert "train@other" not in output
    assert len(trials(copy, "repro")) == 1
