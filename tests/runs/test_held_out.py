"""Suspects of the test split, against labels that are known to be wrong there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from prepared_noise import project_in
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.core.evaluation import mislabelled
from memtrack.core.labels.duplicates import thumbnails
from memtrack.data.corruption import write_variant
from memtrack.data.decisions import read_decisions
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.report import held_out
from memtrack.report.evaluation import Evaluation
from memtrack.runs.causes import evaluation_causes
from memtrack.runs.held_out import DRAWS
from memtrack.runs.training import train
from memtrack.stages import clean
from memtrack.stages.evaluate import evaluate

CLASSES = tuple("abcdefghij")
TRAINED, TESTED = 400, 200
CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.2}},
    "train": {
        "epochs": 6, "batch_size": 32, "model": {"kind": "mlp", "width": 32},
        "optimizer": {"kind": "sgd", "lr": 0.1}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 2}, "batch_size": 64},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
    "evaluate": {"scores": ["csl", "curvature", "el2n", "neighbours_pixels", "vog"]},
    "suspects": {"variants": ["noisy"]},
    "clean": {"variants": {"noisy": {"decisions": "decisions.csv"}}},
}  # fmt: skip
FOLDER = Path("results/evaluate/noisy")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Digits of which every tenth test label is wrong, and a training on noisy labels."""
    folder, digits = tmp_path_factory.mktemp("scored"), load_digits()
    count = TRAINED + TESTED
    labels = [CLASSES[number] for number in digits.target[:count]]
    for row in range(TRAINED, count, 10):
        labels[row] = CLASSES[(digits.target[row] + 1 + row // 10 % 9) % 10]
    collected = Collected(
        [f"s{number}" for number in range(count)], labels, ["train"] * TRAINED + ["test"] * TESTED,
        CLASSES, digits.images[:count, None].astype(np.uint8) * 15,
    )  # fmt: skip
    params = Params.model_validate(CONTENT)
    with pytest.MonkeyPatch.context() as patch, project_in(folder, empty_store):
        patch.setattr(mislabelled, "RESAMPLES", 3)
        patch.setattr(Evaluation, "_draw", lambda *_: None)
        write_prepared(collected, params.data, Path("data/prepared"))
        write_variant("noisy", params.variants["noisy"], PreparedData())
        train(params, "noisy", Path("results/train/noisy"))
        evaluate(params, "noisy", Path("results/train/noisy"), FOLDER, "train@noisy")
        Path("params.yaml").write_text(yaml.safe_dump(CONTENT))
    return folder


@pytest.fixture
def table(scored: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """test_scores.csv in the order of the split, with the right labels."""
    monkeypatch.chdir(scored)
    found = pd.read_csv(FOLDER / "test_scores.csv", keep_default_na=False).set_index("id")
    assert found["suspicion_rank"].tolist() == list(range(1, TESTED + 1))
    found = found.loc[[f"s{number}" for number in range(TRAINED, TRAINED + TESTED)]]
    right = [CLASSES[number] for number in load_digits().target[TRAINED : TRAINED + TESTED]]
    return found.assign(right=right)


def test_wrong_test_labels_are_found(table: pd.DataFrame) -> None:
    wrong = table["right"] != table["given_label"]
    assert wrong.sum() == TESTED // 10
    scores = ("suspicion", "csl", "el2n", "neighbours_pixels", "vog", "mislabelled")
    aurocs = {name: roc_auc_score(wrong, table[name]) for name in scores}
    assert "curvature" not in table  # it is recorded of training samples alone
    assert min(aurocs[name] for name in scores if name != "vog") > 0.95, aurocs
    assert (table["suggested_label"] == table["right"])[wrong].mean() > 0.8
    assert (table["kind"] == "mislabelled")[wrong].mean() > 0.8
    metrics = json.loads((FOLDER / "metrics.json").read_text())["test"]
    assert metrics["accuracy"] == pytest.approx((table["predicted_label"] == table["given_label"]).mean())
    trained = json.loads(Path("results/train/noisy/metrics.json").read_text())
    assert metrics["accuracy"] == pytest.approx(trained["test_accuracy"])
    assert metrics["wrong"] == pytest.approx(table["mislabelled"].sum())
    assert metrics["wrong_low"] < TESTED // 10 + 15
    assert metrics["called"] == (table["mislabelled"] > 0.5).sum()
    assert DRAWS > 1


def test_neighbours_and_epochs_are_kept(table: pd.DataFrame) -> None:
    params, data = Params.model_validate(CONTENT), PreparedData()
    variant = VariantData("noisy", data)
    found, near = held_out.read(FOLDER, variant, table.index.tolist(), evaluation_causes(params, variant))
    assert found.scores["given_label"].tolist() == table["given_label"].tolist()
    assert found.trajectory.epochs == (2, 4, 6)
    loss = np.mean([found.trajectory.load("loss", epoch) for epoch in (2, 4, 6)], axis=0)
    np.testing.assert_allclose(table["csl"], loss, rtol=1e-5)
    count = int(np.median(np.bincount(variant.given))) // 2
    assert count < 30
    assert near.shape == (TRAINED, count)
    assert found.neighbours.shape == (TESTED, count)
    assert (near != np.arange(TRAINED)[:, None]).all()
    pixels = load_digits().images[: TRAINED + TESTED, None].astype(np.uint8) * 15
    vectors = thumbnails(pixels)
    rows = NearestNeighbors(n_neighbors=count).fit(vectors[:TRAINED]).kneighbors(vectors[TRAINED:])[1]
    given = np.array([CLASSES.index(label) for label in table["given_label"]])
    share = (variant.given[rows] != given[:, None]).mean(axis=1)
    assert np.abs(share - table["neighbours_pixels"]).max() < 0.04  # of equally near ones, either may count
    with pytest.raises(InputError, match=r"test_scores.csv: is damaged: run `dvc repro evaluate@noisy`"):
        held_out.read(FOLDER, variant, table.index.tolist()[1:], evaluation_causes(params, variant))


def test_mended_test_labels_change_the_accuracy(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = table.sort_values("suspicion_rank").head(30)
    wrong = first[first["right"] != first["given_label"]]
    gone = first.index[first["right"] == first["given_label"]][0]
    lines = [f"{sample},{row.given_label},relabel,{row.right}" for sample, row in wrong.iterrows()]
    Path("decisions.csv").write_text(
        "\n".join(["id,given_label,decision,label", *lines, f"{gone},,remove,", "s0,,keep,", ""])
    )
    monkeypatch.setattr(sys, "argv", ["clean", "noisy"])
    with pytest.raises(SystemExit) as ended:
        clean.main()
    assert ended.value.code == 0
    after = table["given_label"].mask(table.index.isin(wrong.index), table["right"])
    labels = pd.read_csv("results/clean/noisy/test_labels.csv").set_index("id")["label"]
    assert labels.drop(gone).tolist() == after.drop(gone).tolist()
    assert labels[gone] == "(removed)"
    changes = pd.read_csv("results/clean/noisy/changes.csv").set_index("id")
    assert changes["split"].drop("s0").eq("test").all()
    assert changes.loc["s0", "split"] == "train"
    metrics = json.loads(Path("results/clean/noisy/metrics.json").read_text())
    assert (metrics["decided"], metrics["relabelled"], metrics["removed"]) == (1, 0, 0)
    found = metrics["test"]
    assert (found["decided"], found["relabelled"], found["removed"]) == (len(wrong) + 1, len(wrong), 1)
    before = (table["predicted_label"] == table["given_label"]).mean()
    mended = (table["predicted_label"] == after).drop(gone).mean()
    assert (found["accuracy_given"], found["accuracy_mended"]) == pytest.approx((before, mended))
    assert found["difference_low"] < mended - before < found["difference_high"]
    assert f"test accuracy {before:.4f} as given, {mended:.4f} as mended" in capsys.readouterr().out


def test_decisions_about_test_samples_need_their_labels(table: pd.DataFrame) -> None:
    Path("other.csv").write_text(f"id,decision\n{table.index[0]},keep\n")
    variant = VariantData("noisy", PreparedData())
    assert list(read_decisions(Path("other.csv"), variant, {table.index[0]: "a"})) == [table.index[0]]
    with pytest.raises(InputError, match=f"noisy has no sample '{table.index[0]}'"):
        read_decisions(Path("other.csv"), variant)
