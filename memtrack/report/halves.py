"""The table of stage `halves`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError
from memtrack.core.kept_files import write_array
from memtrack.core.labels.confident import confident_joint
from memtrack.data.variants import VariantData
from memtrack.report.metrics import HalvesMetrics
from memtrack.report.sample_tables import (
    HALVES,
    PROBABILITIES,
    TURN_OVER,
    read_halves,
    read_turn_over,
    write_csv,
)

FILES = (HALVES, PROBABILITIES, TURN_OVER)


def write(
    variant: VariantData,
    first: NDArray[np.int64],
    holdout_loss: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    forgotten: NDArray[np.int64],
    epochs: int,
    folder: Path,
) -> HalvesMetrics:
    """Write halves.csv and probabilities.npy; returns the content of metrics.json.

    Args:
        first: the rows of the first half. holdout_loss, probabilities, forgotten: see
            `memtrack.core.scores.halves.Halves`. epochs: the number of epochs on each half.
    """
    half = np.full(len(variant.ids), 2)
    half[first] = 1
    columns = {"holdout_loss": holdout_loss.astype(np.float32), "forgotten": forgotten}
    write_csv(pd.DataFrame({"id": variant.ids, "half": half, **columns}), folder / HALVES)
    write_array(folder / PROBABILITIES, probabilities.astype(np.float32))
    joint = confident_joint(variant.given, probabilities)
    return HalvesMetrics(
        mean_holdout_loss=float(holdout_loss.mean()),
        holdout_accuracy=float((probabilities.argmax(axis=1) == variant.given).mean()),
        wrong=float(joint.sum() - joint.trace()),
        forgotten=float((forgotten <= epochs).mean()),
    )


def is_whole(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> bool:
    """Whether the table can be read; if not, it is said why."""
    try:
        read_halves(folder, variant, made_from)
    except InputError as error:
        print(error)
        return False
    return (folder / "metrics.json").exists()


def write_turn_over(folder: Path, found: NDArray[np.float64] | None) -> None:
    """Write turn_over.npy; without values for None."""
    write_array(folder / TURN_OVER, np.zeros(0, np.float32) if found is None else found.astype(np.float32))


def has_turn_over(folder: Path, variant: VariantData) -> bool:
    """Whether turn_over.npy can be read."""
    try:
        read_turn_over(folder, variant)
    except InputError:
        return False
    return True
