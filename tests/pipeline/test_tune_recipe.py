"""`memtrack tune --recipe` on a small trained project: its output, a kill, what it writes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from pages import command
from project_clone import CODE, NO_MODEL, Project

from memtrack.config import params

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
KILLED = """
import os, signal
from memtrack.tune.recipes.flipped_training import FlippedTraining
run = FlippedTraining.run
def killed(self, what):
    if what == "trial 1":
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, what)
FlippedTraining.run = killed
"""
BETTER = """
from dataclasses import replace
from memtrack.core.evaluation.detection import Difference
from memtrack.tune.recipes import command
judge = command.judge
def better(search, **options):
    winner = {"loss": "early_learning", "lr": 0.12, "dropout": 0.25}
    return replace(judge(search, **options), winner=winner, confirmed=Difference(0.9, 0.8, 0.1, 0.05, 0.15))
command.judge = better
"""
"""On 32 images nothing is better beyond the noise: as if it were."""


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    """Three epochs on the variant with known corruption."""
    project.environment[CODE] += f"{NO_MODEL}import memtrack.tune.study\nmemtrack.tune.study.HEARTBEAT = 1\n"
    project.edit("train.epochs", 3)
    recipe = {"loss": ["cross_entropy", "early_learning"], "lr": {"low": 0.01, "high": 0.2}, "share": 0.2}
    project.edit("tune", {"variant": "noisy", "recipe": {**recipe, "dropout": [0.0, 0.25, 0.5]}})
    project.stage("prepare")
    project.stage("corrupt", "noisy")
    project.stage("train", "noisy")
    return project


def trials(project: Project, study: str) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{project.folder}/.memtrack/tune/study.db"
    return optuna.load_study(study_name=study, storage=storage).trials


@pytest.fixture(scope="module")
def output(trained: Project) -> str:
    """Of a search that was killed in its second trial, and goes on."""
    trained.place_study()
    search = command("memtrack tune --recipe", "README.md", "docs/tune.md")
    options = "--study", "one", "--trials", "3"
    trained.run(*search, *options, code=KILLED, status=-signal.SIGKILL)
    assert [trial.state.name for trial in trials(trained, "one")][:2] == ["COMPLETE", "RUNNING"]
    return trained.run(*search, *options)


def test_a_search_that_is_killed_goes_on(output: str, trained: Project) -> None:
    done = trials(trained, "one")
    states = [trial.state.name for trial in done]
    assert states.count("FAIL") == 1
    assert sum(state in ("COMPLETE", "PRUNED") for state in states) == 3
    assert done[1].state.name == "FAIL"
    assert done[1].params in [trial.params for trial in done[2:]]
    outcome = json.loads((trained.folder / "results/tune/one/outcome.json").read_text())
    assert outcome["looked"] == 3
    assert outcome["verdict"] in output
    assert "AUROC of flips against AUROC of the wrong labels" in output
    assert "Traceback" not in output


def test_it_is_in_mlflow(output: str, trained: Project) -> None:
    client = MlflowClient(f"sqlite:///{trained.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack").experiment_id
    [parent] = client.search_runs([experiment], "tags.`mlflow.runName` = 'tune one'")
    assert parent.info.status == "FINISHED"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    done = {f"trial {trial.number}": trial for trial in trials(trained, "one")}
    for child in children:
        trial = done[child.info.run_name]
        assert child.data.params == {name: str(value) for name, value in trial.params.items()}
        if trial.state.name == "COMPLETE":
            assert child.data.metrics["auroc"] == pytest.approx(trial.value)
            assert "auroc_csl" in child.data.metrics
    files = {Path(entry.path).name for entry in client.list_artifacts(parent.info.run_id, "tune")}
    assert {"trials.csv", "outcome.json", "ranking.csv"} <= files


def test_show_trains_nothing(output: str, trained: Project) -> None:
    shown = trained.tune("--recipe", "--study", "one", "--show", code=KILLED.replace('"trial 1"', "what"))
    assert "Study one: the best recipes" in shown
    assert len(trials(trained, "one")) == 4


@pytest.mark.usefixtures("parameters_kept")
def test_a_better_recipe_is_written(output: str, trained: Project) -> None:
    said = trained.tune("--recipe", "--study", "one", "--trials", "3", "--write", code=BETTER)
    assert "The recipe is written to params.yaml" in said
    after = params.load(trained.folder / "params.yaml", tune=True).train
    assert (after.loss.kind, after.optimizer.lr, after.model.dropout) == ("early_learning", 0.12, 0.25)
    assert "# n, the number of random directions per epoch" in (trained.folder / "params.yaml").read_text()


def test_two_workers(trained: Project) -> None:
    said = trained.tune("--recipe", "--study", "two", "--trials", "4", "--workers", "2")
    assert [trial.state.name for trial in trials(trained, "two")].count("FAIL") == 0
    assert "Study two: the best recipes (4 trials" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--variant", "clean"), "run `dvc repro corrupt@clean`"),
        (("--held-out", "noisy"), "command line: held_out: has no effect with --recipe: leave it out"),
        (("--trials", "0"), "command line: recipe.trials: 0: should be greater than or equal to 1"),
        (("--study", "one", "--seed", "7"), "was made with other labels, flips"),
    ],
)
def test_bad_input(output: str, trained: Project, options: tuple[str, ...], said: str) -> None:
    found = trained.tune("--recipe", *options, status=2)
    assert said in found
    assert "Traceback" not in found
