"""Stage suspects: what it writes, what it does again, and what it removes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project_clone import CODE, NO_MODEL, NO_STORE, NO_TRAINING, Project

pytestmark = pytest.mark.usefixtures("parameters_kept")


@pytest.fixture(scope="module")
def learned(project: Project) -> Project:
    """A project that has learned from two trainings with flips."""
    project.environment[CODE] += NO_MODEL + NO_STORE
    project.edit("suspects", {"variants": ["noisy"], "share": 0.3, "draws": 2, "seed": 5})
    project.edit("train.epochs", 12)
    project.edit("train.batch_size", 8)
    for stage in (("prepare",), ("corrupt", "noisy"), ("train", "noisy"), ("suspects", "noisy")):
        project.stage(*stage)
    return project


def results(project: Project) -> Path:
    return project.folder / "results/suspects/noisy"


def metrics(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results(project) / "metrics.json").read_text())
    return found


def test_the_tables(learned: Project) -> None:
    table = pd.read_csv(results(learned) / "suspects.csv")
    assert table["suspicion"].is_monotonic_decreasing
    assert table["mislabelled"].is_monotonic_decreasing
    assert table["mislabelled"].between(0, 1).all()
    assert (table["suggested_label"] != table["given_label"]).all()
    assert (table["suggested_probability"] <= table["mislabelled"]).all()
    numbers = metrics(learned)
    assert numbers["wrong"] == pytest.approx(table["mislabelled"].sum())
    assert numbers["called"] == (table["mislabelled"] > 0.5).sum()
    labels = pd.read_csv(learned.folder / "data/variants/noisy/labels.csv")
    wrong = set(labels["id"][labels["corrupted"] == 1])
    called = set(table["id"][table["mislabelled"] > 0.5])
    assert numbers["recall"] == pytest.approx(len(wrong & called) / len(wrong))
    assert numbers["recovered"] == 1  # there is one other class only
    assert len(pd.read_csv(results(learned) / "weights.csv")) == 8


def test_evaluate_takes_what_was_learned(learned: Project) -> None:
    learned.stage("evaluate", "noisy")
    scores = pd.read_csv(learned.folder / "results/evaluate/noisy/scores.csv")
    table = pd.read_csv(results(learned) / "suspects.csv")
    assert scores["suspicion_rank"].tolist() == list(range(1, len(scores) + 1))
    for column in ("id", "suspicion", "mislabelled", "suggested_label", "suggested_probability"):
        assert scores[column].tolist() == table[column].tolist()
    output = learned.run("python", "-m", "memtrack.results")
    assert f"about {metrics(learned)['wrong']:.0f} labels are wrong" in output


def test_labels_are_mended_and_what_it_is_worth(learned: Project) -> None:
    seed = learned.params("train.seed")
    decisions = "results/suspects/noisy/suspects.csv"
    cleaning = {"decisions": decisions, "above": 0.3, "seeds": [seed, seed + 1]}
    learned.edit("clean.variants", {"noisy": cleaning})
    mended = {"kind": "from_file", "labels": "results/clean/noisy/labels.csv", "leave_out": "(removed)"}
    learned.edit("variants", learned.params("variants") | {"mended": mended})
    learned.stage("clean", "noisy")
    table = pd.read_csv(results(learned) / "suspects.csv").set_index("id")
    changes = pd.read_csv(learned.folder / "results/clean/noisy/changes.csv").set_index("id")
    assert set(changes.index) == set(table.index[table["mislabelled"] > 0.3])
    assert (changes["label"] == table.loc[changes.index, "suggested_label"]).all()
    labels = pd.read_csv(learned.folder / "results/clean/noisy/labels.csv").set_index("id")["label"]
    given = table["given_label"]
    assert (labels[labels.index.isin(changes.index)] != given[changes.index]).all()
    others = given.index.difference(changes.index)
    assert (labels[others] == given[others]).all()

    learned.stage("benefit", "noisy")
    accuracies = pd.read_csv(learned.folder / "results/benefit/noisy/benefit.csv").set_index("seed")
    assert list(accuracies.columns) == ["given", "cleaned", "random", "true"]
    learned.stage("corrupt", "mended")
    for variant, column in (("noisy", "given"), ("mended", "cleaned")):  # the networks of stage train
        learned.stage("train", variant)
        trained = json.loads((learned.folder / f"results/train/{variant}/metrics.json").read_text())
        assert accuracies.loc[seed, column] == trained["test_accuracy"]
    found = json.loads((learned.folder / "results/benefit/noisy/metrics.json").read_text())
    assert found["gain"] == pytest.approx((accuracies["cleaned"] - accuracies["given"]).mean())
    assert found["changed"] == len(changes)

    learned.edit("clean.variants.noisy.seeds", [seed])
    output = learned.stage("benefit", "noisy", code=NO_TRAINING)
    assert "(one seed)" in output


def test_a_second_run_trains_nothing(learned: Project) -> None:
    before = (results(learned) / "suspects.csv").read_bytes()
    weights = sorted(results(learned).glob("trainings/*/checkpoints/*.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    output = learned.stage("suspects", "noisy")
    assert output.count("was trained before with these settings") == 2
    assert (results(learned) / "suspects.csv").read_bytes() == before
    assert [path.stat().st_mtime_ns for path in weights] == written


def test_fewer_draws_keep_their_trainings(learned: Project) -> None:
    learned.edit("suspects.draws", 1)
    learned.stage("suspects", "noisy")
    assert [path.name for path in (results(learned) / "trainings").iterdir()] == ["0"]


def test_evaluate_refuses_what_was_learned_with_other_flips(learned: Project) -> None:
    learned.edit("suspects.seed", 6)
    output = learned.stage("evaluate", "noisy", status=2)
    assert "results/suspects/noisy/manifest.json" in output
    assert "dvc repro suspects@noisy" in output


def test_too_few_samples_to_learn_from(learned: Project) -> None:
    learned.edit("suspects.share", 0.1)
    learned.edit("suspects.draws", 1)
    output = learned.stage("suspects", "noisy", status=2)
    assert "suspects.share: there are fewer than 5 flipped labels" in output
    assert "0.1 of the 32 samples of noisy are flipped: raise it, or remove the variant" in output


def test_it_does_nothing_unless_it_is_asked_to(learned: Project) -> None:
    learned.edit("suspects.variants", [])
    assert "nothing to do" in learned.stage("suspects", "noisy")
    for name in ("trainings", "pictures"):
        assert [path.name for path in (results(learned) / name).iterdir()] == ["nothing.json"]
    learned.stage("evaluate", "noisy")
    scores = pd.read_csv(learned.folder / "results/evaluate/noisy/scores.csv")
    assert "mislabelled" not in scores
    assert (scores["suspicion"] <= 1).all()
    assert "noisy: about " not in learned.run("python", "-m", "memtrack.results")


def test_flips_that_cannot_be_told_teach_nothing(learned: Project) -> None:
    learned.edit("train.epochs", 1)
    learned.edit("train.optimizer.lr", 1e-9)
    learned.edit("suspects.seed", 1)  # the pixels do not tell these flips either
    learned.stage("train", "noisy")
    output = learned.stage("suspects", "noisy", status=2)
    assert "suspects.variants: nothing can be learned of noisy" in output
