"""Which score measures memorization, and what does it cost to estimate memorization itself?

    python benchmarks/memorization.py WORK --mnist ROOT

The benchmark estimates Feldman & Zhang's memorization, and computes the scores of one training of the same
network, in projects under WORK. The data are digits with their own labels, with 10% symmetric noise and with
2% conflicting duplicates, and 10,000 images of MNIST. Tables and a picture are written to
benchmarks/results/memorization. Existing results are not computed again, so an interrupted command continues.
ROOT is the folder that holds MNIST/raw.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import chdir
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import kendalltau

from memtrack.config import params
from memtrack.config.sections.base import PREPARED
from memtrack.core.evaluation.agreement import MEASURES, agreements
from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.core.memorization.correct_predictions import CorrectPredictions
from memtrack.core.memorization.estimates import Counts
from memtrack.core.memorization.subsets import subset
from memtrack.core.scores import SCORES, title
from memtrack.tune.costs import sweep_costs
from memtrack.tune.trained_variant import TrainedVariant

RESULTS = Path(__file__).parent / "results" / "memorization"
VARIANTS: dict[str, dict[str, Any]] = {
    "true_labels": {"kind": "none"},
    "symmetric_10": {"kind": "symmetric", "rate": 0.1},
    "conflicting_duplicates_2": {"kind": "conflicting_duplicates", "rate": 0.02},
}
RECIPE = {"batch_size": 64, "optimizer": {"kind": "sgd", "lr": 0.05}, "schedule": {"kind": "cosine"}}
DATA: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"kind": "digits", "root": "data/raw"}, "models": 2000, "variants": list(VARIANTS),
        "utility": {"models": 50},
        "train": {**RECIPE, "epochs": 40, "model": {"kind": "mlp", "width": 64, "depth": 1, "dropout": 0.0}},
    },
    "mnist": {
        "data": {"kind": "torchvision", "name": "MNIST", "train_limit": 10_000, "download": False},
        "models": 1000, "variants": ["true_labels"],
        "utility": {"models": 20, "thresholds": [0.1, 0.3, 0.5, 0.7, 0.9]},
        "train": {**RECIPE, "epochs": 20, "model": {"kind": "mlp", "width": 128, "depth": 1, "dropout": 0.0}},
    },
}  # fmt: skip
TITLES = {
    "digits": "digits (1,437)",
    "mnist": "MNIST (10,000)",
    "true_labels": "true labels",
    "symmetric_10": "symmetric 10%",
    "conflicting_duplicates_2": "conflicting duplicates 2%",
}
NAMED = ("curvature", "csl", "aum", "input_gradient_norm")
"""The scores that the picture names in addition to the best ones."""
COUNTS = (5, 10, 20, 50, 100, 200, 500, 1000)


def stage(folder: Path, name: str, *arguments: str) -> None:
    """Run a stage in a project."""
    command = [sys.executable, "-m", f"memtrack.stages.{name}", *arguments]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "DVC_ROOT": ""})


def run(work: Path, mnist: Path | None) -> None:
    """Compute the results that are missing."""
    for name, chosen in DATA.items():
        if name == "mnist" and mnist is None:
            continue
        folder = work / name
        (folder / "data/raw").mkdir(parents=True, exist_ok=True)
        data = {**chosen["data"], **({"root": str(mnist)} if name == "mnist" else {})}
        variants = {key: {"labels": PREPARED, **VARIANTS[key]} for key in chosen["variants"]}
        made = {
            "data": data, "variants": variants, "train": chosen["train"],
            "record": {"epochs": {"kind": "every", "interval": 2}},
            "curvature": {"perturbation_scale": 0.03, "probes": 1},
            "evaluate": {"scores": [key for key, own in SCORES.items() if own.by_default or key == "vog"]},
            "memorization": {"models": chosen["models"], "variants": list(variants)},
            "utility": {"variants": list(variants), **chosen["utility"]},
        }  # fmt: skip
        (folder / "params.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
        if not (folder / "data/prepared/dataset.json").exists():
            stage(folder, "prepare")
        for variant in variants:
            if not (folder / "results/evaluate" / variant / "metrics.json").exists():
                for part in ("corrupt", "train", "evaluate"):
                    stage(folder, part, variant)
            if not (folder / "results/agreement" / variant / "metrics.json").exists():
                start = time.perf_counter()
                before = sum(1 for _ in folder.glob(f".memtrack/networks/{variant}-*/*.npz"))
                stage(folder, "memorization", variant)
                if not before:  # otherwise it is not the time of all networks
                    seconds = (time.perf_counter() - start) / chosen["models"]
                    (folder / f"seconds_{variant}.json").write_text(json.dumps(seconds))
                stage(folder, "agreement", variant)
            if not (folder / "results/utility" / variant / "metrics.json").exists():
                stage(folder, "utility", variant)
            if not (folder / f"cost_{variant}.json").exists():
                (folder / f"cost_{variant}.json").write_text(json.dumps(costs(folder, variant)))


def costs(folder: Path, variant: str) -> dict[str, float]:
    """The seconds for a training without recording, and for gradients and probes of all recorded epochs."""
    with chdir(folder):
        loaded = params.load()
        trained = TrainedVariant(loaded, variant, loaded.recorded_epochs())
        gradient, probe = sweep_costs(trained)
        model = trained.model(loaded.train.epochs)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        batches = list(trained.batches(loaded.train.batch_size))
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            for inputs, labels in batches:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
            seconds.append(time.perf_counter() - start)
        whole = loaded.train.epochs * float(np.median(seconds[1:]))
        sweeps = len(loaded.recorded_epochs()) * whole
        return {"training": whole, "gradients": gradient * sweeps, "probes": probe * sweeps}


def cost(score: str, measured: dict[str, float]) -> float:
    """The seconds that a score takes: the training and the sweeps that it needs."""
    swept = measured["gradients"]
    if score.startswith("curvature"):
        return measured["training"] + swept + measured["probes"]
    if score in ("input_gradient_norm", "vog"):
        return measured["training"] + swept
    return measured["training"] + swept / 3  # a forward pass


def estimates(folder: Path, variant: str) -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]:
    """The memorization estimated by the second half of the networks, and by the first networks."""
    summary = json.loads((folder / "data/variants" / variant / "summary.json").read_text())
    samples = summary["samples"]
    tests = json.loads((folder / "data/prepared/dataset.json").read_text())["test"]
    path = folder / "results/memorization" / variant / "networks.npz"
    with np.load(path, allow_pickle=False) as arrays:
        kept = CorrectPredictions(str(arrays["key"]), (samples, tests))
    kept.read(path)
    half = len(kept) // 2

    def estimate(numbers: range) -> NDArray[np.float64]:
        counts = Counts(samples)
        kept.count(counts, numbers, partial(subset, samples, share=0.7, seed=0))
        return counts.memorization

    firsts = {count: estimate(range(count)) for count in COUNTS if count <= half}
    return estimate(range(half, len(kept))), firsts


def scores_of(folder: Path, variant: str) -> dict[str, NDArray[np.float64]]:
    """The scores, in the order of the variant's table."""
    table = pd.read_csv(folder / "results/evaluate" / variant / "scores.csv", dtype={"id": str}).set_index(
        "id"
    )
    ids = pd.read_csv(folder / "data/variants" / variant / "labels.csv", dtype={"id": str})["id"]
    table = table.loc[ids]
    return {name: table[name].to_numpy() for name in table if f"{name}_rank" in table}


def report(work: Path) -> None:
    """Write the tables as Markdown and CSV, and the picture."""
    RESULTS.parent.mkdir(exist_ok=True)
    lines = ["# Which score measures memorization?", "",
             "Agreement with Feldman & Zhang's memorization, estimated from many trainings of the same "
             "network (each on 70% of the samples); in brackets the 95% interval over samples. "
             "AUROC: for finding the wrong labels. Written by benchmarks/memorization.py.", ""]  # fmt: skip
    rows, panels = [], []
    for name, chosen in DATA.items():
        for variant in chosen["variants"]:
            folder = work / name
            file = folder / "results/agreement" / variant / "metrics.json"
            if not file.exists():
                continue
            found = json.loads(file.read_text())
            whole = json.loads((folder / "results/memorization" / variant / "metrics.json").read_text())
            judged = json.loads((folder / "results/evaluate" / variant / "metrics.json").read_text())[
                "scores"
            ]
            lines += [f"## {TITLES[name]}, {TITLES[variant]}", "",
                      "{models} networks with test accuracy {test_accuracy:.3f} ± {test_accuracy_sd:.3f}; "
                      "median standard error {median_standard_error:.3f}, and {error} for the {memorized} "
                      "samples with mem > 0.25; "
                      "{influential_pairs} influential pairs, {sure_pairs} of them beyond the noise, "
                      "with {influenced_tests} test samples."
                      .format_map(whole | {"error": f"{whole['median_standard_error_memorized']:.3f}"}), "",
                      "| score | AUROC | Pearson | Spearman | cosine | top 5% | mem > 0.25 |",
                      "|---|---|---|---|---|---|---|"]  # fmt: skip
            for score, numbers in found["scores"].items():
                cells = [_cell(numbers, measure) for measure in MEASURES]
                finds = f"{judged[score]['auroc']:.3f}" if score in judged else ""
                lines.append(f"| `{score}` | {finds} | " + " | ".join(cells) + " |")
                rows.append({"data": name, "variant": variant, "score": score, "auroc": finds, **numbers})
            lines += ["", *_orders(folder, variant, found, judged), "", *_utility(folder, variant), ""]
            panels.append((name, variant))
    RESULTS.with_suffix(".md").write_text("\n".join(lines))
    pd.DataFrame(rows).round(5).to_csv(RESULTS.with_suffix(".csv"), index=False)
    _picture(work, panels)
    print(f"{RESULTS.with_suffix('.md')}: {len(rows)} results")


def _cell(numbers: dict[str, float | None], measure: str) -> str:
    value, low, high = (numbers[f"{measure}{end}"] for end in ("", "_low", "_high"))
    return "" if value is None or low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _orders(folder: Path, variant: str, found: dict[str, Any], judged: dict[str, Any]) -> list[str]:
    """Whether AUROC and agreement rank the scores alike, and which pairs of scores they rank in opposite
    order, both beyond the noise."""
    if not judged:
        return []
    names = [name for name in found["scores"] if name in judged]
    agree = {name: found["scores"][name]["pearson"] for name in names}
    finds = {name: judged[name]["auroc"] for name in names}
    tau = kendalltau([agree[name] for name in names], [finds[name] for name in names]).statistic
    by_auroc, by_agreement = (
        pd.read_csv(folder / "results" / stage / variant / "differences.csv").set_index(["better", "worse"])
        for stage in ("evaluate", "agreement")
    )
    turned = []
    for pair in combinations(names, 2):  # the first agrees better
        if pair[::-1] in by_auroc.index and pair in by_agreement.index:
            one, other = by_auroc.loc[pair[::-1]], by_agreement.loc[pair]
            if one["low"] > 0 and other["pearson_low"] > 0:
                turned.append(pair)
    text = f"Ranking of the scores by AUROC against that by Pearson: Kendall's tau {tau:.2f}. "
    if not turned:
        return [text + "No two scores are ranked in opposite order beyond the noise in both."]
    beaten = {one: [other for better, other in turned if better == one] for one, _ in turned}
    shown = [f"- `{one}`: {', '.join(f'`{other}`' for other in others)}" for one, others in beaten.items()]
    return [text + f"{len(turned)} pairs of scores are ranked in opposite order beyond the noise in both. "
            "Each agrees better with mem, but finds wrong labels worse, than:", "", *shown]  # fmt: skip


def _utility(folder: Path, variant: str) -> list[str]:
    """How much test accuracy is lost by leaving out memorized samples."""
    table = pd.read_csv(folder / "results/utility" / variant / "utility.csv")
    models = json.loads((folder / "results/utility" / variant / "metrics.json").read_text())["models"]
    lines = [f"Test accuracy (%) of {models} networks without the samples with mem above a threshold; in "
             "brackets the loss against as many networks without random samples, with its 95% interval: on "
             "all test samples, on those in an influential pair, and on the others.", "",
             "| mem above | samples | all | influenced | others |", "|---|---|---|---|---|"]  # fmt: skip
    for (threshold, count), rows in table.groupby(["threshold", "left_out"]):
        cells = {
            row.tests: f"{row.without_memorized:.2%} [{row.difference:.2%}: {row.low:.2%}, {row.high:.2%}]"
            for row in rows.itertuples()
        }
        shown = " | ".join(cells.get(tests, "") for tests in ("all", "influenced", "others"))
        lines.append(f"| {threshold} | {count} | {shown.replace('%', '')} |")
    return lines


def _picture(work: Path, panels: list[tuple[str, str]]) -> None:
    """Draw agreement against cost: the scores of one run, and memorization from few networks."""
    figure, grid = plt.subplots(2, 2, figsize=(11, 9.4), squeeze=False)
    for axes, (name, variant) in zip(grid.flat, panels, strict=False):
        folder = work / name
        truth, firsts = estimates(folder, variant)
        measured = json.loads((folder / f"cost_{variant}.json").read_text())
        scores = scores_of(folder, variant)
        known = ~np.isnan(truth)
        judged, _ = agreements({score: values[known] for score, values in scores.items()}, truth[known],
                               Resampling(200, 0.95, 0))  # fmt: skip
        ordered = sorted(scores, key=lambda score: -judged[score]["pearson"].value)
        named = [score for score in ordered if score in {*ordered[:5], *NAMED}]
        for score in [*named, *(score for score in ordered if score not in named)]:
            found = judged[score]["pearson"]
            look = {"label": title(score)} if score in named else {"color": "0.7", "zorder": 0}
            axes.errorbar([cost(score, measured)], [found.value],
                          [[found.value - found.low], [found.high - found.value]], fmt="o", ms=4, capsize=2,
                          **look)  # fmt: skip
        axes.plot([], [], "o", color="0.7", ms=4, label="the other scores")
        file = folder / f"seconds_{variant}.json"
        seconds = json.loads(file.read_text()) if file.exists() else measured["training"]
        points = []
        for count, values in firsts.items():  # zero if these few networks give no estimate
            points.append((count * seconds, np.corrcoef(np.nan_to_num(values[known]), truth[known])[0, 1]))
        axes.plot(*zip(*points, strict=True), "k.-", label="memorization from 5, 10, ... networks")
        for (at, value), count in zip(points, firsts, strict=True):
            axes.annotate(str(count), (at, value), textcoords="offset points", xytext=(3, -10), fontsize=7)
        axes.set(xscale="log", xlabel="seconds on two CPU cores", ylim=(0, 1.02),
                 ylabel="correlation with an independent estimate",
                 title=f"{TITLES[name]}, {TITLES[variant]}")  # fmt: skip
        axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(RESULTS.with_suffix(".png"), dpi=100, metadata={"Software": None})


def main() -> None:
    """Run what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the projects")
    parser.add_argument("--mnist", type=Path, help="the folder that holds MNIST/raw")
    parser.add_argument("--report", action="store_true", help="only write the tables, from existing results")
    options = parser.parse_args()
    if not options.report:
        run(options.work, options.mnist and options.mnist.resolve())
    report(options.work)


if __name__ == "__main__":
    main()
