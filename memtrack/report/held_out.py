"""The suspects of the test split: tables of stage `evaluate`, and how they are read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.files import whole_file
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import ranks
from memtrack.data.manifest import KeptFolder
from memtrack.data.variants import VariantData
from memtrack.report.evaluation import names_of
from memtrack.report.metrics import HeldOutMetrics
from memtrack.report.sample_tables import TEST_TABLE, read_table_of, write_csv
from memtrack.runs.held_out import SplitScores, probabilities

ARRAYS, NEIGHBOURS = "test_trajectory.npz", "neighbours.npz"


def table(found: SplitScores, classes: Sequence[str]) -> pd.DataFrame:
    """test_scores.csv: a row for each test sample, the most suspect first."""
    names = np.asarray(classes, dtype=object)
    columns: dict[str, object] = {
        "id": found.ids,
        "image": found.images,
        "given_label": names[found.labels],
        "predicted_label": names[found.predicted],
        "suggested_label": names_of(found.suggested, names),
        "kind": found.kinds,
        **probabilities(found),
    }
    for key, values in found.scores.items():
        columns[key], columns[f"{key}_rank"] = values, ranks(values)
    return pd.DataFrame(columns).sort_values(f"{next(iter(found.scores))}_rank")


def metrics(found: SplitScores) -> HeldOutMetrics:
    """What metrics.json says of the test split."""
    learned = found.learned
    return HeldOutMetrics(
        samples=len(found.ids),
        accuracy=float((found.predicted == found.labels).mean()),
        auroc_of_flips=None if learned is None else learned.auroc,
        wrong=None if learned is None else learned.wrong,
        wrong_low=None if learned is None else learned.low,
        wrong_high=None if learned is None else learned.high,
        called=None if learned is None else int(learned.called.sum()),
    )


def write(
    found: SplitScores, of_training: NDArray[np.int64], classes: Sequence[str], folder: Path
) -> dict[str, Path]:
    """Write the table, the numbers of each epoch, and the nearest training samples to `folder`.

    Args:
        of_training: the nearest training samples of the training samples, (N, K).

    Returns:
        the files by their names.
    """
    write_csv(table(found, classes), folder / TEST_TABLE)
    epochs = found.trajectory.epochs
    arrays = {
        name: np.stack([found.trajectory.load(name, epoch) for epoch in epochs])
        for name in found.trajectory.arrays
    }
    near = {"train": of_training.astype(np.int32), "test": found.neighbours.astype(np.int32)}
    for name, content in ((ARRAYS, {"epochs": np.array(epochs), **arrays}), (NEIGHBOURS, near)):
        with whole_file(folder / name) as file:
            np.savez(file, **content)
    return {name: folder / name for name in (TEST_TABLE, ARRAYS, NEIGHBOURS)}


@dataclass(frozen=True)
class HeldOutResults:
    """What stage `evaluate` wrote of the T test samples: the table in the order of the split, the numbers of
    each recorded epoch, and the nearest training samples, (T, K)."""

    scores: pd.DataFrame
    trajectory: InMemoryTrajectory
    neighbours: NDArray[np.int64]


def read(
    folder: Path, variant: VariantData, ids: Sequence[str], made_from: Mapping[str, Any]
) -> tuple[HeldOutResults, NDArray[np.int64]]:
    """What `write` wrote; the last are the nearest training samples of the training samples, (N, K).

    Args:
        ids: of the test samples. made_from: as in `read_scores`.

    Raises:
        InputError: if a file is damaged, or made from something else.
    """
    kept = KeptFolder(folder, f"run `dvc repro evaluate@{variant.name}`")
    kept.require(**made_from)
    scores = read_table_of(folder, TEST_TABLE, variant.name, ids, made_from)
    with kept.reading(ARRAYS) as path, np.load(path, allow_pickle=False) as stored:
        epochs = stored["epochs"].tolist()
        arrays = {
            name: dict(zip(epochs, stored[name], strict=True)) for name in stored.files if name != "epochs"
        }
        if any(values.shape != (len(ids),) for found in arrays.values() for values in found.values()):
            raise ValueError("other samples")
    with kept.reading(NEIGHBOURS) as path, np.load(path, allow_pickle=False) as stored:
        train, test = (stored[name].astype(np.int64) for name in ("train", "test"))
        if len(train) != len(variant.ids) or len(test) != len(ids):
            raise ValueError("other samples")
    return HeldOutResults(scores, InMemoryTrajectory(arrays), test), train
