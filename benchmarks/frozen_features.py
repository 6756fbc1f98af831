"""Who is mislabelled, by a small network on features of a pretrained one?

    python benchmarks/frozen_features.py WORK CIFAR10     # half an hour on two cores

CIFAR10 and the features are as in cleaning.py, but the images are enlarged to 192x192. For each set of labels
that people gave, an MLP with dropout is trained with early-learning regularization. The table is written to
benchmarks/results/frozen_features.md. Networks that are there are not trained again.
"""

from __future__ import annotations

import json
from pathlib import Path

from cleaning import measured_work, repository, run

RESULTS = Path(__file__).parent / "results" / "frozen_features.md"
SIDE = 192
LABELS = ("random1", "worst", "aggregate")
TRAIN = {
    "epochs": 15,
    "model": {"kind": "mlp", "width": 256, "depth": 1, "dropout": 0.5},
    "optimizer": {"kind": "adamw", "lr": 0.001, "weight_decay": 0.05},
    "loss": {"kind": "early_learning"},
}
SCORES = ("csl", "el2n", "neighbours", "curvature", "suspicion")
STAGES = ("corrupt", "train", "suspects", "averaged", "halves", "evaluate")


def row(folder: Path, name: str) -> str:
    """What was found with a set of labels."""
    judged = json.loads((folder / f"results/evaluate/{name}/metrics.json").read_text())
    learned = json.loads((folder / f"results/suspects/{name}/metrics.json").read_text())
    suspicion = judged["scores"]["suspicion"]
    cells = [
        f"{name} ({judged['corrupted'] / judged['samples']:.1%} wrong)",
        f"{judged['test_accuracy']:.3f}",
        *(f"{judged['scores'][score]['auroc']:.3f}" for score in SCORES),
        f"[{suspicion['auroc_low']:.3f}, {suspicion['auroc_high']:.3f}]",
        f"{learned['wrong']:.0f} [{learned['wrong_low']:.0f}, {learned['wrong_high']:.0f}] of "
        f"{judged['corrupted']}",
        f"{learned['recovered']:.2f}",
        f"{learned['expected_precision']:.2f} / {learned['precision']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is missing, and write the table."""
    columns = dict(zip(LABELS, LABELS, strict=True))
    work = measured_work(__doc__, SIDE)
    folder = repository(work, columns, train=TRAIN, record={"epochs": {"kind": "every"}})
    run(folder, "memtrack.stages.prepare")
    for name in LABELS:
        for stage in STAGES:
            run(folder, f"memtrack.stages.{stage}", name)
    heads = ["labels", "test accuracy", *(f"`{score}`" for score in SCORES), "interval of `suspicion`",
             "wrong labels, estimated", "recovered", "precision, expected / true"]  # fmt: skip
    lines = [
        "# Who is mislabelled, by a small network on features of a pretrained one?",
        "",
        f"AUROC. 10,000 images of CIFAR-10 with labels that people gave (CIFAR-10N), as features of "
        f"EfficientNet-Lite0 (ImageNet weights, {SIDE}x{SIDE}); an MLP of width 256 with dropout 0.5, 15 "
        "epochs, early-learning regularization; `suspicion` learned from flips. One seed. Written by "
        "benchmarks/frozen_features.py.",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(row(folder, name) for name in LABELS),
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
