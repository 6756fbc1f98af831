"""What is it worth to look at the most suspect images, and to mend their labels?

    python benchmarks/cleaning.py WORK CIFAR10     # half an hour on two cores

CIFAR10 is a folder with train/CLASS/*.jpg, test/CLASS/*.jpg and human_labels.csv (columns path, clean, and
one for each set of labels that people gave, of CIFAR-10N). The script does what a new user does:
`memtrack init` in a new repository, params.yaml edited, `dvc repro`. Then somebody looks at the first images
in the order of a score and gives each wrong label its right one, which stages clean and benefit judge. All
three orders are tried, and the results are written to benchmarks/results/cleaning.md. Networks that are there
are not trained again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

RESULTS = Path(__file__).parent / "results" / "cleaning.md"
SCORES = ("suspicion", "csl", "curvature")
IMAGES, EPOCHS, SIZE, SEEDS = 5000, 9, 24, [0]
TESTS = 2000
LABELS = "random1"
LOOKED_AT = 0.2
"""The share of the images that somebody looks at before the labels are mended."""
SHARES = (0.1, 0.2, 0.5)
NAME = "people"


def images(source: Path, work: Path) -> None:
    """Some of the images and their labels, drawn with a fixed seed."""
    if (work / "labels.csv").exists():
        return
    table = pd.read_csv(source / "human_labels.csv").sort_values("path")
    chosen = sorted(random.Random(0).sample(range(len(table)), IMAGES))
    table = table.iloc[chosen]
    for path in table["path"]:
        (work / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, work / "photos" / path)
    shutil.copytree(source / "test", work / "photos/test")
    table.rename(columns={"path": "id", LABELS: "label"})[["id", "label"]].to_csv(
        work / "labels.csv", index=False
    )


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


def start(work: Path) -> Path:
    """The repository, made as a new user makes it."""
    folder = work / "repository"
    if not (folder / "params.yaml").exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        run(folder, "memtrack", "init", str(work / "photos"))
    data = yaml.safe_load((folder / "params.yaml").read_text())["data"]
    network = {"kind": "cnn", "width": 16, "depth": 3, "dropout": 0.5}
    edit(
        folder,
        data={**data, "image_size": SIZE},
        train={
            "epochs": EPOCHS,
            "model": network,
            "loss": {"kind": "cross_entropy"},
            "augment": {"crop": SIZE // 8, "flip": True},
        },
        record={"epochs": {"kind": "every", "interval": 1}},
        suspects={"variants": [NAME]},
        clean={"variants": {}},
    )
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["variants"] = {NAME: {"kind": "from_file", "labels": str(work / "labels.csv")}}
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
        f"{judged['samples']:,} images of CIFAR-10 at {SIZE}x{SIZE} pixels with labels that people gave "
        f"(CIFAR-10N `{LABELS}`, {judged['corrupted']} of them wrong), CNN of width 16, {EPOCHS} epochs, "
        "cross entropy, crops and flips. Written by benchmarks/cleaning.py.",
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
        f"Test accuracy on {TESTS:,} images (mean over {len(SEEDS)} seed{'s' * (len(SEEDS) > 1)}) after "
        f"somebody has looked at the first {LOOKED_AT:.0%} of the images and given each wrong label its "
        "right one. "
        + ("Intervals are Student's t, paired by seed:" if len(SEEDS) > 1 else "One seed has no interval:"),
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


def main() -> None:
    """Run what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the images and the repository")
    parser.add_argument("cifar10", type=Path, help="the folder with the images and the labels")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    images(options.cifar10, work)
    folder = start(work)
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
