"""Which score finds which kind of noise, on which data, at what cost?

    python benchmarks/scores_and_noise.py WORK --mnist ROOT --cifar ROOT

The benchmark trains and evaluates every data set with every kind of noise, with three seeds each (for the
noise, the network and the probes), in projects under WORK. It writes the tables
benchmarks/results/scores_and_noise. Existing results are not computed again, so an interrupted command
continues. Data sets without a root are not run, but stay in the tables. For MNIST, ROOT is a folder as
torchvision lays it out; for CIFAR, it contains train/CLASS/ID.jpg, test/CLASS/ID.jpg and human_labels.csv
(columns path and random1).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from memtrack.config import params
from memtrack.config.sections.base import PREPARED
from memtrack.core.recording.eval_mode import frozen_eval
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import SCORES, Need
from memtrack.tune.costs import sweep_costs
from memtrack.tune.trained_variant import TrainedVariant

RESULTS = Path(__file__).parent / "results" / "scores_and_noise"
SEEDS = (0, 1, 2)
NOISE: dict[str, dict[str, Any]] = {
    "symmetric 10%": {"kind": "symmetric", "rate": 0.1},
    "pair 30%": {"kind": "pair", "rate": 0.3},
    "instance-dependent 20%": {"kind": "instance_dependent", "rate": 0.2},
    "human": {"kind": "from_file", "id_column": "path", "label_column": "random1"},
    "conflicting duplicates 2%": {"kind": "conflicting_duplicates", "rate": 0.02},
}
CNN = {"kind": "cnn", "width": 16, "depth": 2, "dropout": 0.0}
TRAIN = {"batch_size": 64, "model": CNN, "optimizer": {"kind": "sgd", "lr": 0.05},
         "schedule": {"kind": "cosine"}}  # fmt: skip
DATA: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"kind": "digits", "root": "data/raw"},
        "train": {**TRAIN, "epochs": 30, "model": {**CNN, "width": 32, "dropout": 0.5}},
    },
    "mnist": {
        "data": {"kind": "torchvision", "name": "MNIST", "train_limit": 10_000, "download": False},
        "train": {**TRAIN, "epochs": 10},
    },
    "cifar": {
        "data": {"kind": "image_folder", "train": "train", "test": "test"},
        "train": {**TRAIN, "epochs": 16, "model": {**CNN, "depth": 3},
                  "optimizer": {"kind": "sgd", "lr": 0.1}, "augment": {"crop": 4, "flip": True}},
    },
}  # fmt: skip
TITLES = {"digits": "digits (1,437)", "mnist": "MNIST (10,000)", "cifar": "CIFAR-10 (10,000)"}


def slug(noise: str) -> str:
    """The variant's name."""
    return noise.replace(" ", "_").replace("%", "").replace("-", "_")


def parameters(name: str, seed: int, root: Path | None) -> dict[str, Any]:
    """The params.yaml of a project: one data set, all kinds of noise, one seed for everything."""
    made = copy.deepcopy(DATA[name])
    if root is not None:
        made["data"]["root"] = str(root)
    made["train"]["seed"] = seed
    made["variants"] = {}
    for noise, entry in NOISE.items():
        if entry["kind"] != "from_file":
            made["variants"][slug(noise)] = {"labels": PREPARED, "seed": seed, **entry}
        elif name == "cifar":
            made["variants"][slug(noise)] = {"labels": str((root or Path()) / "human_labels.csv"), **entry}
    made["record"] = {"epochs": {"kind": "every", "interval": 2}}
    made["evaluate"] = {
        "scores": [name for name, score in SCORES.items() if score.by_default or name == "vog"]
    }
    made["curvature"] = {"perturbation_scale": 0.03, "probes": 1, "seed": seed}
    return made


def stage(folder: Path, name: str, *arguments: str) -> None:
    """Run a stage in a project."""
    command = [sys.executable, "-m", f"memtrack.stages.{name}", *arguments]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "DVC_ROOT": ""})


def run(work: Path, roots: dict[str, Path | None], *, evaluate_again: bool) -> None:
    """Compute the results that are missing, with the first seed for all data sets first."""
    for seed in SEEDS:
        for name in DATA:
            if name != "digits" and roots[name] is None:
                continue
            folder = work / f"{name}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            made = parameters(name, seed, roots.get(name))
            (folder / "params.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
            (folder / "data/raw").mkdir(parents=True, exist_ok=True)
            if not (folder / "data/prepared/dataset.json").exists():
                stage(folder, "prepare")
            for variant in made["variants"]:
                if not (folder / "results/train" / variant / "metrics.json").exists():
                    print(f"--- {name}, {variant}, seed {seed}", flush=True)
                    stage(folder, "corrupt", variant)
                    stage(folder, "train", variant)
                if evaluate_again or not (folder / "results/evaluate" / variant / "metrics.json").exists():
                    stage(folder, "evaluate", variant)
            if seed == SEEDS[0] and not (folder / "costs.json").exists():
                (folder / "costs.json").write_text(json.dumps(costs(folder, next(iter(made["variants"])))))


def costs(folder: Path, variant: str) -> dict[str, float]:
    """The time for a forward pass, gradient and probe of all samples, in trainings without recording."""
    with chdir(folder):
        loaded = params.load()
        trained = TrainedVariant(loaded, variant, loaded.recorded_epochs())
        gradient, probe = sweep_costs(trained)
        model = trained.model(loaded.train.epochs)
        inputs, labels = next(iter(trained.batches(trained.sweep_batch_size)))
        leaf = inputs.clone().requires_grad_()

        def forward() -> None:
            with torch.no_grad():
                model(inputs)

        def backward() -> None:
            loss = torch.nn.functional.cross_entropy(model(leaf), labels, reduction="sum")
            torch.autograd.grad(loss, leaf)

        with frozen_eval(model):
            seconds = np.array([[_seconds(job) for job in (forward, backward)] for _ in range(30)])[5:]
        share = float(np.median(seconds[:, 0] / seconds[:, 1]))
        return {"forward": share * gradient, "gradient": gradient, "probe": probe,
                "epochs": len(loaded.recorded_epochs())}  # fmt: skip


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


class _Asked(InMemoryTrajectory):
    """A trajectory that notes which quantities a score uses."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    @property
    def epochs(self) -> tuple[int, ...]:
        return (1, 2)

    def load(self, quantity: str, epoch: int) -> np.ndarray[Any, Any]:
        self.names.add(quantity)
        return np.ones(3, dtype=np.float32)


def cost(score: str, measured: dict[str, float]) -> float:
    """The cost of a score, in trainings without recording: the training and the sweeps that it needs. NaN if
    it is not a matter of sweeps; `literature_scores.py` measures those."""
    epochs = measured["epochs"]
    if score == "vog":
        return 1 + epochs * measured["gradient"]
    if SCORES[score].needs != (Need.EPOCHS,):
        return float("nan")
    asked = _Asked()
    SCORES[score].formula(asked)
    if score.endswith("_last") or score == "inconfidence":
        epochs = 1
    if "curvature" in asked.names:
        return 1 + epochs * (measured["gradient"] + measured["probe"])
    return 1 + epochs * measured["gradient" if "input_gradient_norm" in asked.names else "forward"]


def results(work: Path) -> Iterator[dict[str, Any]]:
    """A row for each data set, kind of noise, seed and score."""
    for name in DATA:
        measured = work / f"{name}-{SEEDS[0]}" / "costs.json"
        price = partial(cost, measured=json.loads(measured.read_text())) if measured.exists() else None
        for seed in SEEDS:
            for noise in NOISE:
                file = work / f"{name}-{seed}" / "results/evaluate" / slug(noise) / "metrics.json"
                if file.exists():
                    for score, judged in json.loads(file.read_text())["scores"].items():
                        yield {"data": name, "noise": noise, "seed": seed, "score": score,
                               "auroc": judged["auroc"], "cost": price(score) if price else None}  # fmt: skip


def report(work: Path) -> None:
    """Write the numbers as CSV and the tables as Markdown."""
    found = pd.DataFrame(results(work))
    RESULTS.with_suffix(".csv").parent.mkdir(exist_ok=True)
    found.round(5).to_csv(RESULTS.with_suffix(".csv"), index=False)
    lines = ["# Which score finds which kind of noise?", "",
             "AUROC, mean and standard deviation over the seeds of noise, network and probes; the number of "
             "seeds if it is not three; bold: the best mean. Cost in trainings without recording, on two "
             "CPU cores. Written by benchmarks/scores_and_noise.py.", ""]  # fmt: skip
    for name in [name for name in DATA if name in set(found["data"])]:
        of_data = found[found["data"] == name]
        kinds = [noise for noise in NOISE if noise in set(of_data["noise"])]
        grouped = of_data.groupby(["score", "noise"])["auroc"]
        means, spread, count = grouped.mean().unstack(), grouped.std().unstack(), grouped.count().unstack()
        lines += [f"## {TITLES[name]}", "", "| score | cost | " + " | ".join(kinds) + " |",
                  "|---|---|" + "---|" * len(kinds)]  # fmt: skip
        for score in means.mean(axis=1).sort_values(ascending=False).index:
            cells = []
            for noise in kinds:
                best = means.loc[score, noise] == means[noise].max()
                cell = f"{means.loc[score, noise]:.3f}"
                cell = f"**{cell}**" if best else cell
                if count.loc[score, noise] > 1:
                    cell += f" ± {spread.loc[score, noise]:.3f}"
                cells.append(cell + (f" ({count.loc[score, noise]})" if count.loc[score, noise] < 3 else ""))
            price = of_data.loc[of_data["score"] == score, "cost"].iloc[0]
            paid = "" if pd.isna(price) else f"{price:.2f}x"
            lines.append(f"| `{score}` | {paid} | " + " | ".join(cells) + " |")
        lines.append("")
    RESULTS.with_suffix(".md").write_text("\n".join(lines))
    print(f"{RESULTS.with_suffix('.md')}: {len(found)} results")


def main() -> None:
    """Run what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the projects")
    parser.add_argument("--mnist", type=Path, help="the folder that holds MNIST/raw")
    parser.add_argument("--cifar", type=Path, help="the folder that holds train, test and human_labels.csv")
    parser.add_argument("--evaluate-again", action="store_true", help="compute the scores of trainings again")
    parser.add_argument("--report", action="store_true", help="only write the tables, from existing results")
    options = parser.parse_args()
    roots = {
        name: path and path.resolve() for name, path in (("mnist", options.mnist), ("cifar", options.cifar))
    }
    if not options.report:
        run(options.work, roots, evaluate_again=options.evaluate_again)
    report(options.work)


if __name__ == "__main__":
    main()
