"""Memorization through the pipeline: against networks trained one by one, interrupted and gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from numpy.typing import NDArray
from pages import command
from project_clone import CODE, NO_STORE, Project
from scipy.stats import pearsonr, spearmanr
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy

from memtrack.core.memorization.correct_predictions import CorrectPredictions
from memtrack.core.memorization.estimates import Counts
from memtrack.core.memorization.membership import likelihood_ratios, lira
from memtrack.core.memorization.subsets import subset
from memtrack.core.training import models
from memtrack.tune.plan import halves

MODELS = 60
RECIPE = {
    "epochs": 20,
    "batch_size": 8,
    "model": {"kind": "mlp", "width": 64, "depth": 1, "dropout": 0.0},
    "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False},
    "schedule": {"kind": "constant"},
}
RESULTS = Path("results/memorization/noisy")
pytestmark = pytest.mark.usefixtures("scored", "parameters_kept")


@pytest.fixture(scope="module")
def scored(project: Project) -> Project:
    """A variant with wrong labels, trained and scored."""
    project.edit("variants", {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}})
    project.edit("memorization", {"variants": ["noisy"], "models": MODELS, "recipe": RECIPE, "published": {}})
    project.edit("utility", {"variants": ["noisy"], "models": 3, "thresholds": [0.3, 0.6]})
    project.edit("compute.workers", 2)
    project.environment[CODE] += NO_STORE
    project.stage("prepare")
    for stage in ("corrupt", "train", "evaluate"):
        project.stage(stage, "noisy")
    return project


@pytest.fixture(scope="module")
def estimated(scored: Project) -> dict[str, bytes]:
    """What the stage leaves, in one go."""
    output = scored.stage("memorization", "noisy")
    assert f"by {MODELS} networks" in output
    return left(scored)


def left(project: Project) -> dict[str, bytes]:
    folder = project.folder / RESULTS
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def forget(project: Project) -> None:
    for folder in (project.folder / ".memtrack/networks", project.folder / RESULTS):
        subprocess.run(["rm", "-rf", folder], check=True)


def correctness(project: Project, folder: Path) -> CorrectPredictions:
    """All networks in a folder."""
    files = list(folder.glob("*.npz"))
    with np.load(files[0], allow_pickle=False) as arrays:
        made = CorrectPredictions(str(arrays["key"]), (32, 16))
    for path in files:
        made.read(path)
    return made


def kept_files(project: Project, name: str) -> list[Path]:
    return sorted(project.folder.glob(f".memtrack/networks/{name}-*/*.npz"))


def networks(project: Project, count: int = MODELS) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    kept = correctness(project, project.folder / RESULTS)
    assert len(kept) == count
    return kept.flags("train", range(count)), kept.flags("test", range(count))


def table(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.folder / RESULTS / "memorization.csv").sort_values("id", ignore_index=True)


def test_memorization_is_counted_as_it_is_defined(estimated: dict[str, bytes], project: Project) -> None:
    right, _ = networks(project)
    members = np.array([subset(32, number, share=0.7, seed=0) for number in range(MODELS)])
    found = table(project)
    for row in range(32):
        inside, outside = right[members[:, row], row], right[~members[:, row], row]
        assert found["memorization"][row] == pytest.approx(inside.mean() - outside.mean())
        assert found["out_of_sample"][row] == pytest.approx(outside.mean())
        assert (found["trained"][row], found["left_out"][row]) == (len(inside), len(outside))
    wrong = found["corrupted"] == 1
    assert found["memorization"][wrong].mean() > found["memorization"][~wrong].mean() + 0.2


def test_a_network_is_trained_as_the_recipe_says(estimated: dict[str, bytes], project: Project) -> None:
    members = subset(32, 7, share=0.7, seed=0)
    assert (networks(project)[0][7] == plainly_trained(project, 7, members)).all()


def plainly_trained(project: Project, number: int, members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which samples a network gets right that is trained in a plain loop, on the images from the disk."""
    from PIL import Image

    samples = pd.read_csv(project.folder / "data/variants/noisy/labels.csv", dtype=str)
    record = json.loads((project.folder / "data/prepared/dataset.json").read_text())
    root = Path(record["files"]["root"])
    pixels = np.stack([np.asarray(Image.open(root / name)) for name in samples["image"]])
    inputs = torch.tensor((pixels / 255 - record["mean"][0]) / record["std"][0], dtype=torch.float32)[:, None]
    labels = torch.tensor([record["classes"].index(name) for name in samples["given_label"]])
    torch.manual_seed(int(np.random.SeedSequence([0, number, 1]).generate_state(1)[0]))
    network = models.mlp((1, 8, 8), 2, width=64, depth=1, dropout=0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    generator = np.random.Generator(np.random.PCG64([0, number, 2]))
    rows = np.flatnonzero(members)
    for _ in range(20):
        for batch in torch.from_numpy(generator.permutation(rows)).tensor_split(-(-len(rows) // 8)):
            optimizer.zero_grad()
            cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    right: NDArray[np.bool_] = (network(inputs).argmax(1) == labels).numpy()
    return right


@pytest.mark.parametrize(("together", "workers"), [(1, 1), (7, 2)])
def test_grouping_and_workers_change_nothing(
    together: int, workers: int, estimated: dict[str, bytes], project: Project
) -> None:
    forget(project)
    project.edit("compute", {"together": together, "workers": workers})
    project.stage("memorization", "noisy")
    assert left(project) == estimated


DYING = """
from memtrack.ensembles.network_folder import NetworkFolder
keep = NetworkFolder.keep
def keep_and_die(self, numbers):
    keep(self, numbers)
    if len(self.networks) >= {wanted}:
        os.kill(os.getpid(), signal.SIGKILL)
NetworkFolder.keep = keep_and_die
"""
"""Ends the stage when so many networks are there."""
DYING_IN_BETWEEN = """
memorization.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
"""Ends the stage when all is written but the manifest."""


def test_killed_and_gone_on_with(
    estimated: dict[str, bytes], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 again and again, each time when a few more networks are there."""
    forget(project)
    shutil.rmtree(project.folder / ".memtrack/mlflow")  # what was not sent
    monkeypatch.setitem(project.environment, CODE, project.environment[CODE].replace(NO_STORE, ""))
    project.edit("compute", {"together": 2, "workers": 2})
    for wanted in (2, 20):
        project.stage("memorization", "noisy", code=DYING.format(wanted=wanted), status=-9)
        assert 2 * len(kept_files(project, "noisy")) == wanted
    there = {path: path.stat().st_mtime_ns for path in kept_files(project, "noisy")}
    project.stage("memorization", "noisy", code=DYING_IN_BETWEEN, status=-9)
    project.stage("memorization", "noisy")
    assert left(project) == estimated
    assert all(path.stat().st_mtime_ns == when for path, when in there.items())
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("memtrack")
    (run,) = client.search_runs([experiment.experiment_id], "run_name = 'noisy, memorization'")
    assert run.info.status == "FINISHED"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "image_folder-noisy"


def test_more_networks_are_added(estimated: dict[str, bytes], project: Project) -> None:
    project.edit("compute.together", 10)
    project.edit("memorization.models", 30)
    forget(project)
    project.stage("memorization", "noisy")
    assert len(networks(project, 30)[0]) == 30
    subprocess.run(["rm", "-rf", project.folder / ".memtrack/networks"], check=True)  # as after a dvc pull
    project.edit("memorization.models", MODELS)
    project.stage("memorization", "noisy")
    assert left(project) == estimated
    there = sorted(path.name for path in project.folder.glob(".memtrack/networks/*/*.npz"))
    assert there[0] == "00000000_30.npz"  # what was pulled
    assert int(there[1].split("_")[0]) == 30
    project.edit("memorization.models", 30)
    project.stage("memorization", "noisy")
    project.edit("memorization.models", MODELS)
    project.stage("memorization", "noisy")
    assert sorted(path.name for path in project.folder.glob(".memtrack/networks/*/*.npz")) == there
    assert left(project) == estimated


def test_enough_is_said_in_standard_errors(estimated: dict[str, bytes], project: Project) -> None:
    """At the first 50 networks that are enough, whoever was there first."""
    project.edit("memorization.standard_error", 0.5)
    project.stage("memorization", "noisy")
    metrics = json.loads((project.folder / RESULTS / "metrics.json").read_text())
    assert metrics["models"] == 50
    assert metrics["median_standard_error"] < 0.5
    assert len(networks(project, 50)[0]) == 50
    project.edit("memorization.standard_error", None)
    project.stage("memorization", "noisy")
    assert left(project) == estimated


def test_influence(estimated: dict[str, bytes], project: Project) -> None:
    """All pairs by hand."""
    _, tested = networks(project)
    members = np.array([subset(32, number, share=0.7, seed=0) for number in range(MODELS)])
    found = table(project)
    held = pd.read_csv(project.folder / RESULTS / "test.csv")
    expected = {}
    for row in np.flatnonzero(found["memorization"] > 0.25):
        for column in range(16):
            right = tested[:, column]
            value = right[members[:, row]].mean() - right[~members[:, row]].mean()
            if value > 0.15:
                expected[found["id"][row], held["id"][column]] = value
    assert expected
    pairs = pd.read_csv(project.folder / RESULTS / "influence.csv")
    listed = dict(zip(zip(pairs["train_id"], pairs["test_id"], strict=True), pairs["influence"], strict=True))
    assert listed == pytest.approx(expected)
    assert pairs["influence"].is_monotonic_decreasing
    touched = {test for _, test in expected}
    assert set(held["id"][held["pairs"] > 0]) == touched
    assert held["right"].tolist() == pytest.approx(tested.mean(axis=0).tolist())


def test_agreement(estimated: dict[str, bytes], project: Project) -> None:
    project.stage("agreement", "noisy")
    folder = project.folder / "results/agreement/noisy"
    found = pd.read_csv(folder / "agreement.csv").set_index("score")
    scores = pd.read_csv(project.folder / "results/evaluate/noisy/scores.csv").sort_values("id")
    for name in ("curvature", "aum"):
        assert found["pearson"][name] == pytest.approx(
            pearsonr(scores[name], table(project)["memorization"])[0]
        )
        assert found["pearson_low"][name] <= found["pearson"][name] <= found["pearson_high"][name]
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {"scatter.png", *(f"disagree_{name}.png" for name in found.index)}
    output = project.run("python", "-m", "memtrack.results")
    assert f"{found['pearson']['curvature']:.2f} [" in output


def test_the_privacy_score(estimated: dict[str, bytes], project: Project) -> None:
    """The networks are trained again for it and are the same. It agrees with mem, and is among the scores."""
    project.edit("memorization.privacy", True)
    output = project.stage("memorization", "noisy")
    assert "a likelihood-ratio attack tells members" in output
    with np.load(project.folder / RESULTS / "networks.npz") as arrays:
        odds = arrays["log_odds"]
    assert ((odds > 0) == networks(project)[0]).all()  # there are two classes
    members = np.array([subset(32, number, share=0.7, seed=0) for number in range(MODELS)])
    found = table(project)
    assert found["lira"].tolist() == pytest.approx(lira(members, likelihood_ratios(members, odds)).tolist())
    measured = json.loads((project.folder / RESULTS / "metrics.json").read_text())["privacy"]
    assert measured["spearman"] == pytest.approx(spearmanr(found["lira"], found["memorization"])[0])
    assert measured["spearman"] > 0.3  # mem has many ties
    assert measured["auroc"] == pytest.approx(roc_auc_score(found["corrupted"], found["lira"]))
    project.stage("agreement", "noisy")
    judged = pd.read_csv(project.folder / "results/agreement/noisy/agreement.csv").set_index("score")
    assert judged["spearman"]["lira"] == pytest.approx(measured["spearman"], abs=1e-6)
    project.edit("memorization.privacy", False)
    project.stage("memorization", "noisy")
    assert left(project) == estimated


def test_utility(estimated: dict[str, bytes], project: Project) -> None:
    """Killed when some networks are there, gone on with, and then by hand, a network in a plain loop too."""
    project.stage("utility", "noisy", code=DYING.format(wanted=5), status=-9)
    there = {path: path.stat().st_mtime_ns for path in kept_files(project, "noisy-utility")}
    assert there
    project.stage("utility", "noisy")
    assert all(path.stat().st_mtime_ns == when for path, when in there.items())
    found = pd.read_csv(project.folder / "results/utility/noisy/utility.csv")
    right = correctness(project, project.folder / "results/utility/noisy")
    memorized = table(project)["memorization"].to_numpy()
    touched = pd.read_csv(project.folder / RESULTS / "test.csv")["sure_pairs"].to_numpy() > 0
    parts = {"all": np.full(16, True), "influenced": touched, "others": ~touched}
    thresholds = sorted(set(found["threshold"]))
    assert len(right) == 3 * (1 + 2 * len(thresholds))
    for row in found.itertuples():
        first = 10**6 * (1 + 2 * round(1000 * row.threshold))
        without, random = (
            right.flags("test", range(block, block + 3))[:, parts[row.tests]].mean(axis=1)
            for block in (first, first + 10**6)
        )
        assert row.left_out == (memorized > row.threshold).sum()
        assert (row.without_memorized, row.without_random) == pytest.approx((without.mean(), random.mean()))
        assert row.difference == pytest.approx(random.mean() - without.mean())
        spread = np.array([random.var(ddof=1), without.var(ddof=1)]) / 3
        if spread.sum():
            freedom = spread.sum() ** 2 / (spread**2 / 2).sum()  # Welch and Satterthwaite
            wide = student.ppf(0.975, freedom) * np.sqrt(spread.sum())
            assert (row.low, row.high) == pytest.approx((row.difference - wide, row.difference + wide))
    number = 10**6 * (1 + 2 * round(1000 * thresholds[0])) + 2
    assert (
        plainly_trained(project, number, memorized <= thresholds[0]) == right.flags("train", [number])
    ).all()
    assert "is lower than without as many random ones, by" in project.run("python", "-m", "memtrack.results")


def test_a_search_for_agreement(estimated: dict[str, bytes], project: Project) -> None:
    """Half of the samples by half of the networks choose, the other halves confirm."""
    project.place_study()
    search = command("memtrack tune --objectives", "docs/memorization.md", clean="noisy")
    output = project.run(*search, "--trials", "3")
    assert "by the other half of the networks" in output.replace("\n", " ")
    [path] = project.folder.glob("results/tune/noisy-*/outcome.json")
    outcome = json.loads(path.read_text())
    right, _ = networks(project)
    members = np.array([subset(32, number, share=0.7, seed=0) for number in range(MODELS)])
    estimates = []
    for start in (0, 1):
        counts = Counts(32)
        counts.add(members[start::2], right[start::2])
        estimates.append(counts.memorization)
    assert not np.isnan(estimates).any()
    scores = pd.read_csv(project.folder / "results/evaluate/noisy/scores.csv").sort_values("id")
    sides = halves(np.mean(estimates, axis=0) > 0.25)
    for name, rows, estimate in zip(("chosen", "confirmed"), sides, estimates, strict=True):
        by_hand = pearsonr(scores["curvature"].to_numpy()[rows], estimate[rows])[0]
        assert outcome[name]["second"] == pytest.approx(by_hand, abs=1e-5)
    assert "cost" in output
    project.edit("memorization.share", 0.6)
    refused = project.tune("--objective", "memorization", "--variant", "noisy", status=2)
    assert "is damaged, or not estimated as params.yaml says: run `dvc repro memorization@noisy`" in refused


def test_published_memorization(estimated: dict[str, bytes], project: Project) -> None:
    """The very numbers of the estimate, as if others had published them for these image files."""
    found = table(project)
    labels = pd.read_csv(project.folder / "data/variants/noisy/labels.csv").set_index("id").loc[found["id"]]
    path = project.folder / "data/raw/published.npz"
    names = [Path(image).name for image in labels["image"]]
    np.savez(path, allow_pickle=False, tr_mem=found["memorization"].to_numpy()[::-1],
             tr_labels=(labels["clean_label"] == "right").to_numpy()[::-1].astype(int),
             tr_filenames=np.array(names[::-1], dtype="S"))  # fmt: skip
    project.edit("memorization.published", {"noisy": "data/raw/published.npz"})
    output = project.stage("agreement", "noisy", "--published", status=2)
    assert "published.npz: tr_filenames cannot tell images apart" in output
    np.savez(path, allow_pickle=False, tr_mem=found["memorization"].to_numpy()[::-1],
             tr_labels=(labels["clean_label"] == "right").to_numpy()[::-1].astype(int),
             tr_filenames=np.array(labels["image"].tolist()[::-1], dtype="S"))  # fmt: skip
    project.stage("agreement", "noisy", "--published")
    scores = pd.read_csv(project.folder / "results/evaluate/noisy/scores.csv").sort_values("id")
    right = found["corrupted"].to_numpy() == 0  # the others' memorization is of another label
    by_hand = pearsonr(scores["curvature"].to_numpy()[right], found["memorization"].to_numpy()[right])[0]
    judged = pd.read_csv(project.folder / "results/agreement/noisy-published/agreement.csv")
    assert judged.set_index("score")["pearson"]["curvature"] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("memorization.share", 0.001, "memorization.share: 0.001 of 32 samples leaves nothing to train on"),
        ("memorization.recipe.model.kind", "transformer", "memorization.recipe.model.kind"),
        ("memorization.variants", ["nosy"], "there is no variant 'nosy'"),
        ("memorization.variants", [], "memorization is not estimated for noisy"),
    ],
)
def test_mistakes(key: str, value: Any, said: str, project: Project) -> None:
    project.edit(key, value)
    assert said in project.stage("memorization", "noisy", status=2)
