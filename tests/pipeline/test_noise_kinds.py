"""Every kind of noise through the whole pipeline, and what a score may not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from project_clone import CODE, NO_MODEL, NO_STORE, Project
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from memtrack.core.scores.registry import SCORES
from memtrack.core.scores.several_trainings import AVERAGED
from memtrack.data.manifest import KeptFolder, write_manifest

pytestmark = pytest.mark.usefixtures("parameters_kept")
KNOWN = """from torch import nn

def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8, bias=False), nn.ReLU(), nn.Linear(8, classes))
"""


@pytest.fixture(scope="module")
def prepared(project: Project) -> Project:
    """Variants of many kinds, none made yet; all scores."""
    base = {"labels": "data/prepared"}
    project.edit("variants", {
        "clean": {"kind": "none", **base},
        "noisy": {"kind": "symmetric", "rate": 0.25, **base},
        "pair": {"kind": "pair", "rate": 0.3, **base},
        "hard": {"kind": "instance_dependent", "rate": 0.25, **base},
        "twice": {"kind": "conflicting_duplicates", "rate": 0.25, **base},
        "shuffled": {"kind": "pixels", "how": "shuffled", **base},
        "static": {"kind": "pixels", "how": "gaussian", "labels": "data/variants/twice"},
    })  # fmt: skip
    project.environment[CODE] += NO_MODEL + NO_STORE
    project.stage("prepare")
    return project


def scored(project: Project, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """scores.csv and metrics.json of a variant, made afresh."""
    optional = ("suspects", "averaged", "halves")
    more = [stage for stage in optional if name in project.params(stage)["variants"]]
    for stage in ("corrupt", "train", *more, "evaluate"):
        project.stage(stage, name)
    return read(project.folder / "results/evaluate" / name)


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return pd.read_csv(folder / "scores.csv").sort_values("id", ignore_index=True), metrics


@pytest.mark.parametrize("name", ["pair", "hard"])
def test_label_noise(name: str, prepared: Project) -> None:
    some = [*(score for score in SCORES if SCORES[score].by_default), "vog"]
    prepared.edit("evaluate.scores", some)
    table, metrics = scored(prepared, name)
    wrong = table["clean_label"] != table["given_label"]
    assert (wrong == table["corrupted"]).all()
    assert set(metrics["scores"]) == set(some)
    for score, judged in metrics["scores"].items():
        assert judged["auroc"] == pytest.approx(roc_auc_score(wrong, table[score]))
    assert any("too few" in warning for warning in metrics["warnings"])


@pytest.fixture(scope="module")
def twice(prepared: Project) -> tuple[pd.DataFrame, dict[str, Any]]:
    """scores.csv and metrics.json of the variant with conflicting duplicates."""
    return scored(prepared, "twice")


def test_conflicting_duplicates(twice: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    table, metrics = twice
    assert len(table) == 40
    copies = table[table["id"].str.endswith("#copy")]
    assert (copies["corrupted"] == 1).all()
    originals = table.set_index("id").loc[copies["id"].str.removesuffix("#copy")]
    assert originals["image"].tolist() == copies["image"].tolist()
    # the same image under the same network
    assert originals["predicted_label"].tolist() == copies["predicted_label"].tolist()
    ends = metrics["conflicts"]
    assert ends["pairs"] == 8
    prefers = (copies["predicted_label"] == copies["given_label"]).mean()
    assert ends["prefers_copy"] == pytest.approx(prefers)
    assert ends["prefers_original"] == pytest.approx(1 - prefers)  # of two classes
    assert ends["prefers_neither"] == 0
    both = table["id"].isin([*copies["id"], *originals.index])
    assert ends["auroc_of_both"]["el2n"] == pytest.approx(roc_auc_score(both, table["el2n"]))


@pytest.mark.usefixtures("twice")
def test_conflicting_duplicates_are_listed(prepared: Project) -> None:
    prepared.stage("duplicates", "twice")
    folder = prepared.folder / "results/duplicates/twice"
    table = pd.read_csv(folder / "duplicates.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["exact_pairs"] == 8
    copies = table[table["id"].str.endswith("#copy")]
    assert len(copies) == 8
    for _, group in table[table["group"].isin(copies["group"])].groupby("group"):
        assert group["conflicting"].all()
        assert group["given_label"].nunique() == 2
    assert table["conflicting"].is_monotonic_decreasing
    scores = pd.read_csv(prepared.folder / "results/evaluate/twice/scores.csv").set_index("id")
    assert table["curvature"].tolist() == scores.loc[table["id"], "curvature"].tolist()
    assert (folder / "pictures/conflicting.png").exists()


@pytest.mark.usefixtures("twice")
def test_randomized_pixels(prepared: Project) -> None:
    plain, _ = scored(prepared, "clean")
    table, metrics = scored(prepared, "shuffled")
    assert table["id"].tolist() == plain["id"].tolist()
    assert (table["curvature"] != plain["curvature"]).all()
    assert metrics["scores"] == {}
    table, metrics = scored(prepared, "static")
    assert metrics["scores"]
    # copies of what has other pixels are copies of these: the same prediction, found as the same
    copies = table[table["id"].str.endswith("#copy")].set_index("id")
    originals = table.set_index("id").loc[copies.index.str.removesuffix("#copy")]
    assert originals["predicted_label"].tolist() == copies["predicted_label"].tolist()
    prepared.stage("duplicates", "static")
    found = json.loads((prepared.folder / "results/duplicates/static/metrics.json").read_text())
    assert found["exact_pairs"] == len(copies) == 8


def test_no_score_sees_the_clean_labels(prepared: Project) -> None:
    """Other clean labels and flags beside the same given ones: other AUROCs, and not a bit of a score."""
    prepared.edit("evaluate.scores", list(SCORES))
    (prepared.folder / "networks/known.py").write_text(KNOWN)
    weights = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    weights[:4] = (
        torch.tensor([1.0, -1.0]).repeat_interleave(4).repeat(8)
    )  # left against right, as the classes
    torch.save({"1.weight": weights}, prepared.folder / "networks/known.pt")
    pretrained = {"kind": "python", "make": "networks.known:build", "weights": "networks/known.pt",
                  "mean": [0.5], "std": [0.25]}  # fmt: skip
    prepared.edit("suspects", {"variants": ["noisy"], "share": 0.3, "pretrained": pretrained})
    prepared.edit("halves", {"variants": ["noisy"], "turn_over": True})
    prepared.edit("averaged", {"variants": ["noisy"], "trainings": [{"mixup": 1.0}]})
    prepared.edit("train.epochs", 12)
    prepared.edit("train.batch_size", 8)
    before, judged = scored(prepared, "noisy")
    labels = prepared.folder / "data/variants/noisy/labels.csv"
    table = pd.read_csv(labels)
    order = np.random.default_rng(0).permutation(len(table))
    table["clean_label"] = table["clean_label"].to_numpy()[order]
    table["corrupted"] = (table["clean_label"] != table["given_label"]).astype(int)
    table.to_csv(labels, index=False)
    write_manifest(labels.parent, KeptFolder(labels.parent, "").made_from)  # as if they had been made so
    for stage in ("train", "suspects", "averaged", "halves", "evaluate"):
        prepared.stage(stage, "noisy")
    after, judged_again = read(prepared.folder / "results/evaluate/noisy")
    assert (before["corrupted"] != after["corrupted"]).any()
    assert judged["scores"]["curvature"]["auroc"] != judged_again["scores"]["curvature"]["auroc"]
    for column in (*SCORES, "mislabelled", "suggested_label", "suggested_probability"):
        assert after[column].tolist() == before[column].tolist()


def test_another_seed(prepared: Project) -> None:
    """Trained and evaluated as the variant itself would be with that seed."""
    prepared.edit("evaluate.scores", None)
    prepared.edit("halves.variants", [])
    prepared.edit("averaged.variants", [])
    prepared.edit("suspects", {"variants": []})
    table, metrics = scored(prepared, "noisy")
    prepared.edit("repeat.seeds", [1])
    prepared.stage("repeat", "noisy", "1")
    prepared.stage("evaluate", "noisy", "--seed", "1")
    folder = prepared.folder / "results/repeat/noisy-1"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["pictures", "training"]
    repeated, repeated_metrics = read(folder)
    assert repeated["given_label"].tolist() == table["given_label"].tolist()
    assert (repeated["curvature"] != table["curvature"]).any()
    output = prepared.run("python", "-m", "memtrack.results")
    found = [made["scores"]["el2n"]["auroc"] for made in (metrics, repeated_metrics)]
    assert f"{np.mean(found):.4f} ± {np.std(found, ddof=1):.4f} (2)" in output
    prepared.edit("averaged", {"variants": ["noisy"], "trainings": [{"seed": 2}, {"seed": 1}]})
    assert "3 trainings" in prepared.stage("averaged", "noisy")
    trainings = prepared.folder / "results/averaged/noisy/trainings"
    weights = {path: path.stat().st_ino for path in trainings.glob("*/checkpoints/*.safetensors")}
    prepared.edit("averaged", {"variants": ["noisy"], "trainings": [{"seed": 1}]})
    assert "2 trainings" in prepared.stage("averaged", "noisy")  # the first is gone, and none is trained
    kept = {path: path.stat().st_ino for path in trainings.glob("*/checkpoints/*.safetensors")}
    assert 0 < len(kept) == len(weights) / 2
    assert kept.items() <= weights.items()
    prepared.stage("evaluate", "noisy")
    averaged, _ = read(prepared.folder / "results/evaluate/noisy")
    for score in AVERAGED:
        ranked = [rankdata(each[score]) for each in (table, repeated)]
        assert averaged[f"averaged_{score}"].tolist() == pytest.approx(np.mean(ranked, axis=0).tolist())
    prepared.edit("averaged.variants", [])
    prepared.edit("train.seed", 1)
    prepared.edit("curvature.seed", 1)
    prepared.edit("repeat.seeds", [])
    own, _ = scored(prepared, "noisy")
    assert own["curvature"].tolist() == repeated["curvature"].tolist()
