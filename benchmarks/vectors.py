"""Does curvature find wrong labels of samples that are no images: rows of tables, and short texts?

    python benchmarks/vectors.py WORK     # ten minutes on two cores

scikit-learn's wine and breast-cancer tables, and up to 20 sentences of the description of each of four data
sets (the class is the data set), with 10% of the labels replaced at random; three seeds of noise and network.
It runs the stages in projects under WORK and writes the table benchmarks/results/vectors.md. Existing results
are not computed again.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scores_and_noise import stage
from sklearn import datasets

RESULTS = Path(__file__).parent / "results" / "vectors.md"
SEEDS = (0, 1, 2)
SENTENCES = 20


def write_table(name: str, path: Path) -> None:
    """Write the samples of a data set as CSV."""
    if name == "texts":
        rows = []
        for title in ("breast_cancer", "diabetes", "digits", "wine"):
            text = re.sub(r"\s+", " ", getattr(datasets, f"load_{title}")().DESCR)
            sentences = [part for part in re.split(r"(?<=[.:;]) ", text) if len(part.split()) > 5]
            rows += [{"text": sentence, "label": title} for sentence in sentences[:SENTENCES]]
        pd.DataFrame(rows).to_csv(path, index=False)
        return
    found = getattr(datasets, f"load_{name}")(as_frame=True)
    table = found.frame.rename(columns={"target": "label"})
    table["label"] = [str(found.target_names[number]) for number in table["label"]]
    table.to_csv(path, index=False)


def parameters(name: str, seed: int) -> dict[str, Any]:
    """The params.yaml of a project."""
    kind = {"kind": "text", "dimensions": 16} if name == "texts" else {"kind": "features"}
    return {
        "data": {"root": "raw", "table": "table.csv", "seed": seed, **kind},
        "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.1, "seed": seed}},
        "train": {
            "epochs": 30, "batch_size": 16, "seed": seed, "optimizer": {"kind": "sgd", "lr": 0.05},
            "model": {"kind": "mlp", "width": 64, "depth": 1}, "schedule": {"kind": "cosine"},
        },
        "record": {"epochs": {"kind": "every"}},
        "curvature": {"perturbation_scale": 0.03, "probes": 5, "seed": seed},
        "evaluate": {"scores": None},
    }  # fmt: skip


def run(work: Path, name: str, seed: int) -> dict[str, Any]:
    """The metrics of a project, which is computed if it is not there."""
    folder = work / f"{name}-{seed}"
    metrics = folder / "results/evaluate/noisy/metrics.json"
    if not metrics.exists():
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        write_table(name, folder / "raw/table.csv")
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters(name, seed)))
        for command in (["prepare"], ["corrupt", "noisy"], ["train", "noisy"], ["evaluate", "noisy"]):
            stage(folder, *command)
    found: dict[str, Any] = json.loads(metrics.read_text())
    return found


def main() -> None:
    """Compute what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the projects")
    work = parser.parse_args().work
    rows = []
    for name in ("wine", "breast_cancer", "texts"):
        for seed in SEEDS:
            found = run(work, name, seed)
            column = f"{name} ({found['samples']})"
            rows += [{"score": score, "data": column, "auroc": judged["auroc"]}
                     for score, judged in found["scores"].items()]  # fmt: skip
    grouped = pd.DataFrame(rows).groupby(["score", "data"])["auroc"]
    mean, spread = grouped.mean().unstack(), grouped.std().unstack()
    names = sorted(mean.columns, key=lambda name: name.startswith("texts"))
    lines = ["# Samples that are no images", "",
             "AUROC of finding 10% wrong labels, mean and standard deviation over three seeds. In brackets:",
             "training samples. MLP of 64, h = 0.03, n = 5, 30 epochs. Written by benchmarks/vectors.py.",
             "", "| score | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]  # fmt: skip
    for score in mean.mean(axis=1).sort_values(ascending=False).index:
        cells = [f"{mean.loc[score, name]:.3f} ± {spread.loc[score, name]:.3f}" for name in names]
        lines.append(f"| `{score}` | " + " | ".join(cells) + " |")
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
