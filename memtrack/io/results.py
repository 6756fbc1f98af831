"""The small files of numbers that stages write and later ones read."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from memtrack.io.params import Fraction, Section


class TrainMetrics(Section):
    """metrics.json of stage train: the last epoch's numbers, and the mean memorization score."""

    train_loss: float
    train_accuracy: Fraction
    test_accuracy: Fraction
    mean_curvature: float
    recorded_epochs: int


class ScoreMetrics(Section):
    """How well a score finds the corrupted samples; see `memtrack.core.evaluation.Detection`."""

    auroc: Fraction
    auroc_low: Fraction
    auroc_high: Fraction
    average_precision: Fraction
    precision_at_count: Fraction


class EvaluateMetrics(Section):
    """metrics.json of stage evaluate. `scores` is empty where no label is known to be corrupted."""

    samples: int
    corrupted: int
    test_accuracy: Fraction
    scores: dict[str, ScoreMetrics]


COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "test_accuracy",
    "learning_rate",
    "mean_curvature",
    "curvature_auroc_so_far",
)


def write_history(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    """A CSV file with a row for each epoch; numbers that an epoch does not have stay empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({"epoch": epoch, **numbers} for epoch, numbers in rows.items())
