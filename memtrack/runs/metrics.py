"""The numbers of a training, as they are stored in files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from memtrack.config.json_files import StrictModel
from memtrack.config.sections.base import Fraction

METRICS = "metrics.json"


class TrainMetrics(StrictModel):
    """metrics.json of stage train: the numbers of the last epoch, the mean curvature, and the susceptibility
    if it was measured."""

    train_loss: float
    train_accuracy: Fraction
    test_accuracy: Fraction
    mean_curvature: float
    recorded_epochs: int
    susceptibility: float | None = None


COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "learning_rate",
    "susceptibility",
    "mean_curvature",
    "curvature_auroc_so_far",
)


def write_history(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    """Write a CSV file with a row for each epoch. A number that an epoch does not have stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({"epoch": epoch, **numbers} for epoch, numbers in rows.items())
