"""How much of what networks memorize does a last layer memorize?

    python benchmarks/last_layer.py WORK

The benchmark measures memorization (Feldman & Zhang, 2020) on the digits with the network and recipe of
`memorization.py`, and runs stage `layers` with linear classifiers on frozen features, in a project under
WORK. It writes the table benchmarks/results/last_layer.md. Existing results are not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import memorization
import numpy as np
import pandas as pd
import scores_and_noise as base
import yaml
from scipy.stats import spearmanr

from memtrack.core.memorization.estimates import MEMORIZED

RESULTS = Path(__file__).parent / "results" / "last_layer.md"
VARIANTS = ("true_labels", "symmetric_10")
WHAT = {
    "memorization": "networks",
    "linear_seen": "last layers, features of a network trained on all samples",
    "linear_unseen": "last layers, features of a network that never saw the sample",
}


def run(work: Path, models: int, classifiers: int) -> None:
    """Compute the results that are missing."""
    (work / "data/raw").mkdir(parents=True, exist_ok=True)
    chosen = memorization.DATA["digits"]
    made = {
        "data": chosen["data"], "train": {**chosen["train"], "seed": 0},
        "variants": {name: {"labels": base.PREPARED, **memorization.VARIANTS[name]} for name in VARIANTS},
        "record": {"epochs": {"kind": "every", "interval": 2}},
        "curvature": {"perturbation_scale": 0.03, "probes": 1, "seed": 0}, "evaluate": {},
        "memorization": {"models": models, "variants": list(VARIANTS), "seed": 0},
        "layers": {"variants": {name: {"linear": classifiers} for name in VARIANTS}},
    }  # fmt: skip
    (work / "params.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    if not (work / "data/prepared/dataset.json").exists():
        base.stage(work, "prepare")
    for variant in VARIANTS:
        for stage in ("corrupt", "train", "evaluate", "memorization", "layers"):
            if not (work / "results" / stage / variant / "metrics.json").exists():
                base.stage(work, stage, variant)


def report(work: Path, models: int, classifiers: int) -> None:
    """Write the table."""
    lines = ["# How much of what networks memorize does a last layer memorize?", "",
             "Digits, MLP of one hidden layer of 64 units, one seed. mem (Feldman & Zhang): of "
             f"{models} networks, and of {classifiers} linear classifiers on frozen features, each trained "
             "on 70% of the samples. Written by benchmarks/last_layer.py.", "",
             "| labels | mem of | samples with mem > 0.25 | mean mem of those that networks memorize | "
             "of wrong labels | Spearman with mem of networks |", "|---|---|---|---|---|---|"]  # fmt: skip
    for variant in VARIANTS:
        table = pd.read_csv(work / f"results/memorization/{variant}/memorization.csv").set_index("id")
        samples = pd.read_csv(work / f"results/layers/{variant}/samples.csv").set_index("id")
        table = table.join(samples)
        memorized = table["memorization"] > MEMORIZED
        wrong = table["corrupted"] == 1
        for column, what in WHAT.items():
            values = table[column]
            known = values.notna() & table["memorization"].notna()
            agreed = spearmanr(values[known], table.loc[known, "memorization"]).statistic
            cells = [
                memorization.TITLES[variant], what, str((values > MEMORIZED).sum()),
                f"{np.nanmean(values[memorized]):.2f}",
                f"{np.nanmean(values[wrong]):.2f}" if wrong.any() else "",
                "" if column == "memorization" else f"{agreed:.2f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    accuracies = [
        json.loads((work / f"results/memorization/{variant}/metrics.json").read_text())["test_accuracy"]
        for variant in VARIANTS
    ]
    lines += ["", f"Test accuracy of the networks: {', '.join(f'{each:.3f}' for each in accuracies)}.", ""]
    RESULTS.write_text("\n".join(lines))
    print(RESULTS.read_text())


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the project")
    parser.add_argument("--models", type=int, default=1000, help="networks")
    parser.add_argument("--classifiers", type=int, default=200, help="linear classifiers")
    options = parser.parse_args()
    run(options.work, options.models, options.classifiers)
    report(options.work, options.models, options.classifiers)


if __name__ == "__main__":
    main()
