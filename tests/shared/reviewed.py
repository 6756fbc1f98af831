"""Results for the page of a small variant, made without a training."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from memtrack.core.evaluation.detection import compare, roc_points
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import ranks
from memtrack.report.held_out import HeldOutResults
from memtrack.report.metrics import (
    DuplicatesMetrics,
    EvaluateMetrics,
    QualityMetrics,
    ScoreMetrics,
    SuspectsMetrics,
)
from memtrack.report.page.results import Results

CLASSES = ["cat", "<script>alert(1)</script>", 'd,"og"']
BEHIND = {"behind_best": 0.0, "behind_best_low": 0.0, "behind_best_high": 0.0}


def reviewed(
    samples: int = 60,
    *,
    known: bool = True,
    learned: bool = True,
    duplicates: bool = True,
    quality: bool = True,
    memorization: bool = True,
    epochs: Sequence[int] = (2, 4, 6),
    channels: int = 1,
    columns: list[str] | None = None,
    tests: bool = False,
    **changed: Any,
) -> Results:
    """Results of random scores. Every fifth label is wrong: its sample is predicted as its clean class. The
    first two samples have the same pixels. Sample 2 is dark and in the test split too, under another label;
    so is sample 3, under its own label; of these two test samples the second is the more suspect one.
    `columns`: what people read of each sample in place of an image. `changed`: columns of the table of
    scores."""
    draw = np.random.default_rng(0)
    clean = np.arange(samples) % 3
    wrong = np.arange(samples) % 5 == 0
    given = np.where(wrong, (clean + 1) % 3, clean)
    ids = [f'={number:03d} <b>&"x", {"é" if number % 2 else "y"}.png' for number in range(samples)]
    images = draw.integers(0, 256, (samples, channels, 8, 8), dtype=np.uint8)
    images[1] = images[0]
    variant: Any = SimpleNamespace(
        name="noisy", ids=ids, row={sample: row for row, sample in enumerate(ids)}, given=given,
        clean=clean if known else given, corrupted=wrong if known else wrong & False, flags_known=known,
        causes={"data": "1", "labels": "2"}, summary=SimpleNamespace(classes=CLASSES),
        read=lambda rows: images[np.asarray(rows)],
    )  # fmt: skip

    def read(rows: Sequence[int]) -> Any:
        return images[[row if row < samples else row - samples + 2 for row in rows]]

    def words(rows: Sequence[int]) -> list[list[str]]:
        return [[f"{column} of <b>{row}</b>" for column in columns or ()] for row in rows]

    everything: Any = SimpleNamespace(
        ids=[*ids, "test 0", "test 1"], first_test=samples, read=read, columns=columns, words=words,
        labels=[CLASSES[number] for number in [*given, (given[2] + 1) % 3, given[3]]],
    )  # fmt: skip
    names = np.array(CLASSES, dtype=object)
    scores = {"suspicion": wrong + draw.random(samples), "csl": draw.random(samples)}
    rare = np.where(np.arange(samples) % 7 == 1, "rare", "")
    table = pd.DataFrame({
        "id": ids, "given_label": names[given], "suggested_label": np.where(wrong, names[clean], ""),
        "kind": np.where(wrong, "mislabelled", rare),
    })  # fmt: skip
    if learned:
        table["mislabelled"] = np.where(wrong, 0.9, 0.1)
        table["suggested_probability"] = np.where(wrong, 0.8, 0.0)
    for name, values in scores.items():
        table[name], table[f"{name}_rank"] = values, ranks(values)
    trajectory = InMemoryTrajectory({
        "predicted": dict.fromkeys(epochs, clean),
        "margin": {epoch: draw.normal(size=samples).astype(np.float32) for epoch in epochs},
        "curvature": {epoch: draw.lognormal(size=samples).astype(np.float32) for epoch in epochs},
    })  # fmt: skip
    judged = compare(wrong, scores, 0.95)[0] if known else {}
    curves = []
    for name, values in scores.items():
        false, true = roc_points(wrong, values)
        curves.append(pd.DataFrame({"score": name, "false_positive_rate": false, "true_positive_rate": true}))
    group = pd.DataFrame({"id": ids[:2], "group": 1, "conflicting": True})
    of_tests = pd.DataFrame({
        "id": ["test 0", "test 1"], "given_label": everything.labels[samples:],
        "suggested_label": ["", CLASSES[(given[3] + 1) % 3]], "kind": ["", "mislabelled"],
        "suspicion": [0.2, 0.8], "suspicion_rank": [2, 1],
    })  # fmt: skip
    made_of_tests = InMemoryTrajectory({
        "predicted": {epoch: np.array([(given[2] + 1) % 3, (given[3] + 1) % 3]) for epoch in epochs},
        "margin": {epoch: np.array([0.5, -1.5], dtype=np.float32) for epoch in epochs},
    })  # fmt: skip
    near = np.array([[5, 8, 11], [3, 4, 5]])
    return Results(
        variant,
        [("network", "cnn, width 4"), ("loss", "cross_entropy")],
        table.assign(**changed),
        trajectory,
        (np.arange(samples)[:, None] + np.array([3, 6, 9, 12])) % samples,
        EvaluateMetrics(
            samples=samples, corrupted=int(wrong.sum()) if known else 0, test_accuracy=0.75,
            scores={name: ScoreMetrics(**vars(found), **BEHIND) for name, found in judged.items()},
        ),
        SuspectsMetrics(auroc_of_flips=0.9, wrong=12.0, wrong_low=10.0, wrong_high=14.0, called=12)
        if learned
        else SuspectsMetrics(),
        DuplicatesMetrics(exact_pairs=1, near_pairs=0, groups=1, conflicting_groups=1)
        if duplicates
        else None,
        pd.concat(curves),
        pd.DataFrame({"looked_at": [10, samples], "best": [10, 12], "random": [2.0, 12.0],
                      "suspicion": [9, 12], "csl": [9, 12]}).head(2 if known else 0),
        group if duplicates else None,
        everything,
        QualityMetrics(train={"dark": 1, "leak": 1, "conflicting_leak": 1}, test={"dark": 4, "leak": 2},
                       usual={"low_information": 0.8}, leaks=1, conflicting_leaks=1) if quality else None,
        pd.DataFrame({"issue": ["conflicting_leak", "leak", "dark"], "row": [2, 3, 2],
                      "other": [samples, samples + 1, -1]}) if quality else None,
        np.where(np.arange(samples) < 4, np.nan, np.where(wrong, 0.9, 0.25)) if memorization else None,
        HeldOutResults(of_tests, made_of_tests, near) if tests else None,
    )  # fmt: skip
