"""Does susceptibility tell which recipe is better, without clean labels?

    python benchmarks/susceptibility.py WORK CIFAR10

CIFAR10 is a folder with train/CLASS/ID.jpg, test/CLASS/ID.jpg and human_labels.csv (columns path and
random1). The benchmark trains a small network with thirteen recipes on 3,000 of the images at 16x16, with the
labels that one person gave each, in a project under WORK. It compares the order of the recipes by
susceptibility (Forouzesh et al., ICLR 2023) and by training accuracy, which need no clean labels, with that
by accuracy on the test images, whose labels are clean. It writes the table
benchmarks/results/susceptibility.md. Existing results are not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scores_and_noise as base
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from memtrack.config import params
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting

RESULTS = Path(__file__).parent / "results" / "susceptibility.md"
IMAGES, SIZE = 3000, 16
MODEL = {"kind": "cnn", "width": 16, "depth": 3, "dropout": 0.0}
TRAIN: dict[str, Any] = {
    "epochs": 16, "batch_size": 64, "model": MODEL, "optimizer": {"kind": "sgd", "lr": 0.05},
    "schedule": {"kind": "constant"},
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "lr 0.2": {"optimizer": {"kind": "sgd", "lr": 0.2}},
    "lr 0.005": {"optimizer": {"kind": "sgd", "lr": 0.005}},
    "lr 0.0005": {"optimizer": {"kind": "sgd", "lr": 0.0005}},
    "cosine": {"schedule": {"kind": "cosine"}},
    "4 epochs": {"epochs": 4},
    "32 epochs": {"epochs": 32},
    "dropout 0.5": {"model": {**MODEL, "dropout": 0.5}},
    "weight decay 0.01": {"optimizer": {"kind": "sgd", "lr": 0.05, "weight_decay": 0.01}},
    "crop and flip": {"augment": {"crop": 2, "flip": True}},
    "generalized cross entropy": {"loss": {"kind": "generalized_cross_entropy"}},
    "early learning": {"loss": {"kind": "early_learning"}},
    "mixup": {"mixup": 1.0},
}
Values = NDArray[np.float64]


def run(work: Path, images: Path, seeds: list[int]) -> None:
    """Train with the recipes that are missing."""
    (work / "data/raw").mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in seeds:
        for recipe, changes in RECIPES.items():
            file = work / f"{base.slug(recipe)}-{seed}.json"
            if file.exists():
                continue
            human = {**base.NOISE["human"], "labels": str(images.resolve() / "human_labels.csv")}
            content = {
                "data": {**base.DATA["cifar"]["data"], "root": str(images.resolve()), "image_size": SIZE,
                         "train_limit": IMAGES},
                "variants": {"human": human},
                "train": {**TRAIN, **changes, "seed": seed},
                "record": {"epochs": {"kind": "every", "interval": 1}, "susceptibility": True},
                "curvature": {"perturbation_scale": 0.03, "probes": 1},
            }  # fmt: skip
            (work / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            if not (work / "data/variants/human/summary.json").exists():
                base.stage(work, "prepare")
                base.stage(work, "corrupt", "human")
            with chdir(work):
                found = trained()
            file.write_text(json.dumps(found, indent=1))
            print(f"{recipe}, seed {seed}: {found}", flush=True)


def trained() -> dict[str, Any]:
    """The numbers of one training."""
    loaded, data = params.load(), PreparedData()
    fitting = Fitting(loaded, data, VariantData("human", data), torch.device("cpu"))
    rows, drops = [], []
    training, measuring = 0.0, 0.0
    for epoch in range(1, loaded.train.epochs + 1):
        start = time.process_time()
        rows.append(fitting.run_epoch(epoch))
        middle = time.process_time()
        drops.append(fitting.random_label_drop(epoch))
        training += middle - start
        measuring += time.process_time() - middle
    return {
        "train_accuracy": rows[-1].train_accuracy,
        "test_accuracy": rows[-1].test_accuracy,
        "drops": drops,
        "cost": measuring / training,
        "seconds": training + measuring,
    }


def by_region(table: pd.DataFrame) -> list[str]:
    """The mean test accuracy of the recipes on each side of the mean susceptibility and training accuracy."""
    calm = table["susceptibility"] < table["susceptibility"].mean()
    fitted = table["train_accuracy"] > table["train_accuracy"].mean()
    lines = []
    for title, members in {
        "1: low susceptibility, high training accuracy": calm & fitted,
        "2: high, high": ~calm & fitted,
        "3: low, low": calm & ~fitted,
        "4: high susceptibility, low training accuracy": ~calm & ~fitted,
    }.items():
        mean = f"{table.loc[members, 'test_accuracy'].mean():.3f}" if members.any() else ""
        lines.append(f"| {title} | {members.sum()} | {mean} |")
    return lines


def report(work: Path, seeds: list[int]) -> None:
    """Write the table."""
    rows = []
    for recipe in RECIPES:
        found = [json.loads((work / f"{base.slug(recipe)}-{seed}.json").read_text()) for seed in seeds]
        for seed, one in zip(seeds, found, strict=True):
            rows.append({
                "recipe": recipe, "seed": seed, "susceptibility": np.mean(one["drops"]),
                **{key: one[key] for key in ("train_accuracy", "test_accuracy", "cost")},
            })  # fmt: skip
    every = pd.DataFrame(rows)
    means = every.groupby("recipe", sort=False).mean(numeric_only=True)
    measures: dict[str, Callable[[pd.DataFrame], Values]] = {
        "low susceptibility": lambda table: -table["susceptibility"].to_numpy(),
        "high training accuracy": lambda table: table["train_accuracy"].to_numpy(),
        "both: the sum of the two ranks": lambda table: (
            rankdata(-table["susceptibility"]) + rankdata(table["train_accuracy"])
        ),
    }
    lines = [
        "# Does susceptibility tell which recipe is better, without clean labels?", "",
        f"CIFAR-10, {IMAGES:,} images at {SIZE}x{SIZE} with human labels (random1), CNN of width 16, "
        f"{len(RECIPES)} recipes, {len(seeds)} seeds. Written by benchmarks/susceptibility.py.", "",
        "Spearman's rho with the accuracy on the test images, whose labels are clean, over the recipes:", "",
        "| recipes ordered by | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean of the seeds |",
        "|---|" + "---|" * (len(seeds) + 1),
    ]  # fmt: skip
    for title, measure in measures.items():
        tables = [*(every[every["seed"] == seed] for seed in seeds), means]
        cells = [f"{spearmanr(measure(table), table['test_accuracy']).statistic:.2f}" for table in tables]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "The paper's regions, bounded by the mean susceptibility and training accuracy (means of "
              "the seeds):", "", "| region | recipes | mean test accuracy |", "|---|---|---|",
              *by_region(means),
              "", "| recipe (means of the seeds) | susceptibility | training accuracy | test accuracy |",
              "|---|---|---|---|"]  # fmt: skip
    for recipe, row in means.sort_values("test_accuracy", ascending=False).iterrows():
        lines.append(f"| {recipe} | {row['susceptibility']:.4f} | {row['train_accuracy']:.3f} "
                     f"| {row['test_accuracy']:.3f} |")  # fmt: skip
    lines += ["", f"Cost: {means['cost'].mean():.3f} trainings ({-(-IMAGES // TRAIN['batch_size'])} steps an "
              "epoch), CPU time.", ""]  # fmt: skip
    RESULTS.write_text("\n".join(lines))
    print(RESULTS.read_text())


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the project")
    parser.add_argument("images", type=Path, help="the folder with train/, test/ and human_labels.csv")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], help="of the network and its training"
    )
    options = parser.parse_args()
    os.environ["DVC_ROOT"] = ""
    run(options.work, options.images, options.seeds)
    report(options.work, options.seeds)


if __name__ == "__main__":
    main()
