"""Does susceptibility tell which recipe is better, without clean labels?

    python benchmarks/susceptibility.py WORK CIFAR10

CIFAR10 is a folder with train/CLASS/ID.jpg, test/CLASS/ID.jpg and human_labels.csv (columns path and
random1). The benchmark trains a small network with thirteen recipes on 3,000 of the images at 16x16, with the
labels that one person gave each, in a project under WORK. It compares the order of the recipes by
susceptibility (Forouzesh et al., ICLR 2023), by training accuracy, and by how well flips are found after
training with them, as `memtrack tune --recipe` does, with that by accuracy on the test images. Only the
labels of the test images are clean. It writes the table benchmarks/results/susceptibility.md. Existing
results are not computed again.
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
from memtrack.core.recording.logits import record_logits
from memtrack.core.scores import Need
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting
from memtrack.runs.suspects import flips
from memtrack.runs.trained import TrainedRun
from memtrack.tune.recipes.flipped_training import FlippedTraining, Flips
from memtrack.tune.recipes.search import SEEN

RESULTS = Path(__file__).parent / "results" / "susceptibility.md"
IMAGES, SIZE = 3000, 16
MODEL = {"kind": "mlp", "width": 256, "depth": 2, "dropout": 0.0}
TRAIN: dict[str, Any] = {
    "epochs": 30, "batch_size": 64, "model": MODEL, "optimizer": {"kind": "sgd", "lr": 0.02},
    "schedule": {"kind": "constant"},
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "lr 0.05": {"optimizer": {"kind": "sgd", "lr": 0.05}},
    "lr 0.005": {"optimizer": {"kind": "sgd", "lr": 0.005}},
    "lr 0.0005": {"optimizer": {"kind": "sgd", "lr": 0.0005}},
    "cosine": {"schedule": {"kind": "cosine"}},
    "4 epochs": {"epochs": 4},
    "60 epochs": {"epochs": 60},
    "dropout 0.5": {"model": {**MODEL, "dropout": 0.5}},
    "weight decay 0.02": {"optimizer": {"kind": "sgd", "lr": 0.02, "weight_decay": 0.02}},
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
        write_params(work, images, "plain", seed)
        if not (work / "results/train/human/metrics.json").exists():
            for stage in (("prepare",), ("corrupt", "human"), ("train", "human")):
                base.stage(work, *stage)
        for recipe in RECIPES:
            file = work / f"{base.slug(recipe)}-{seed}.json"
            if file.exists():
                continue
            write_params(work, images, "plain", seeds[0])
            with chdir(work):
                judged, labels = flipped(seed)
            write_params(work, images, recipe, seed)
            with chdir(work):
                found = {**trained(), "flips": flips_found(judged, labels)}
            file.write_text(json.dumps(found, indent=1))
            print(f"{recipe}, seed {seed}: {found}", flush=True)


def write_params(work: Path, images: Path, recipe: str, seed: int) -> None:
    """Make params.yaml say so."""
    human = {**base.NOISE["human"], "labels": str(images.resolve() / "human_labels.csv")}
    content = {
        "data": {**base.DATA["cifar"]["data"], "root": str(images.resolve()), "image_size": SIZE,
                 "train_limit": IMAGES},
        "variants": {"human": human},
        "train": {**TRAIN, **RECIPES[recipe], "seed": seed},
        "record": {"epochs": {"kind": "every", "interval": 1}, "susceptibility": True},
        "curvature": {"perturbation_scale": 0.03, "probes": 1},
    }  # fmt: skip
    (work / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def flipped(seed: int) -> tuple[Flips, NDArray[np.int64]]:
    """What recipes are judged on, and the labels (N,) with the flips of a seed: some of those that plain
    training trusts."""
    loaded, data = params.load(), PreparedData()
    variant, search = VariantData("human", data), loaded.tune.recipe
    run = TrainedRun(loaded, data, variant, Path("results/train/human"), "train@human")
    trusted, (labels,) = flips(
        variant, run, share=search.share, trusted=search.trusted, seeds=[[seed, SEEN, 0]]
    )
    pixels = run.evidence([SUSPICION])[Need.NEIGHBOURS].pixels
    return Flips(data, variant, torch.device("cpu"), trusted, pixels), labels


def flips_found(judged: Flips, labels: NDArray[np.int64]) -> float:
    """The AUROC of the best score for the flips, after training with the parameters that are in force."""
    training = FlippedTraining(params.load(), judged, labels)
    for _ in training.run(None):
        pass
    return max(judged.auroc(labels, values) for values in training.scores.values())


def trained() -> dict[str, Any]:
    """The numbers of one training."""
    loaded, data, cpu = params.load(), PreparedData(), torch.device("cpu")
    data.keep_decoded(loaded.compute.image_cache_bytes)
    variant = VariantData("human", data)
    fitting = Fitting(loaded, data, variant, cpu)
    trainer = fitting._trainer
    rows, drops, plain_drops = [], [], []
    training, measuring = 0.0, 0.0
    for epoch in range(1, loaded.train.epochs + 1):
        start = time.process_time()
        rows.append(fitting.run_epoch(epoch))
        middle = time.process_time()
        drops.append(fitting.random_label_drop(epoch))
        training += middle - start
        measuring += time.process_time() - middle
        own = trainer.optimizer
        trainer.optimizer = torch.optim.SGD(trainer.trained.parameters(), lr=trainer.learning_rate)
        plain_drops.append(fitting.random_label_drop(epoch))
        trainer.optimizer = own
    right = record_logits(fitting.model, variant_batches(data, variant, batch_size=512, device=cpu))
    return {
        "fitted": float(right["correct"].mean()),
        "train_accuracy": rows[-1].train_accuracy,
        "test_accuracy": rows[-1].test_accuracy,
        "drops": drops,
        "plain_drops": plain_drops,
        "cost": measuring / training,
        "seconds": training + measuring,
    }


def ranks(table: pd.DataFrame, column: str, sign: int = 1) -> Values:
    """The ranks of a column, the largest number last, or with sign -1 first."""
    return np.asarray(rankdata(sign * table[column]))


def by_region(table: pd.DataFrame) -> list[str]:
    """The mean test accuracy of the recipes on each side of the mean susceptibility and of the mean training
    accuracy in eval mode."""
    calm = table["susceptibility"] < table["susceptibility"].mean()
    fitted = table["fitted"] > table["fitted"].mean()
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
                "plain": np.mean(one["plain_drops"]),
                **{key: one[key] for key in ("fitted", "train_accuracy", "test_accuracy", "cost", "flips")},
            })  # fmt: skip
    every = pd.DataFrame(rows)
    means = every.groupby("recipe", sort=False).mean(numeric_only=True)
    measures: dict[str, Callable[[pd.DataFrame], Values]] = {
        "low susceptibility": lambda table: ranks(table, "susceptibility", -1),
        "low susceptibility of steps without momentum": lambda table: ranks(table, "plain", -1),
        "high training accuracy": lambda table: ranks(table, "train_accuracy"),
        "high training accuracy in eval mode": lambda table: ranks(table, "fitted"),
        "low susceptibility + high training accuracy (sum of ranks)": lambda table: (
            ranks(table, "susceptibility", -1) + ranks(table, "train_accuracy")
        ),
        "the same with the accuracy in eval mode": lambda table: (
            ranks(table, "susceptibility", -1) + ranks(table, "fitted")
        ),
        "AUROC of flips (`memtrack tune --recipe`)": lambda table: ranks(table, "flips"),
    }
    lines = [
        "# Does susceptibility tell which recipe is better, without clean labels?", "",
        f"CIFAR-10, {IMAGES:,} images at {SIZE}x{SIZE} with human labels (random1), MLP of width 256, "
        f"{len(RECIPES)} recipes, {len(seeds)} seeds. Written by benchmarks/susceptibility.py.", "",
        "Spearman's rho with the accuracy on the test images, whose labels are clean, over the recipes:", "",
        "| recipes ordered by | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean of the seeds |",
        "|---|" + "---|" * (len(seeds) + 1),
    ]  # fmt: skip
    for title, measure in measures.items():
        tables = [*(every[every["seed"] == seed] for seed in seeds), means]
        cells = [f"{spearmanr(measure(table), table['test_accuracy']).statistic:.2f}" for table in tables]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "The paper's regions, bounded by the mean susceptibility and the mean training accuracy in "
              "eval mode (means of the seeds):", "",
              "| region | recipes | mean test accuracy |", "|---|---|---|",
              *by_region(means),
              "", "| recipe (means of the seeds) | susceptibility | without momentum | training accuracy | "
              "in eval mode | AUROC of flips | test accuracy |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for recipe, row in means.sort_values("test_accuracy", ascending=False).iterrows():
        numbers = [f"{row[key]:.4f}" for key in ("susceptibility", "plain")]
        numbers += [f"{row[key]:.3f}" for key in ("train_accuracy", "fitted", "flips", "test_accuracy")]
        lines.append(f"| {recipe} | {' | '.join(numbers)} |")
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
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the network and its training"
    )
    options = parser.parse_args()
    os.environ["DVC_ROOT"] = ""
    run(options.work, options.images, options.seeds)
    report(options.work, options.seeds)


if __name__ == "__main__":
    main()
