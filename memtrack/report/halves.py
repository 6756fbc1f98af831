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
from memtrack.core.scores.confident_learning import confident_joint
from memtrack.core.scores.halves import Halves
from memtrack.data.variants import VariantData
from memtrack.report.metrics import HalvesMetrics
from memtrack.report.sample_tables import HALVES, PROBABILITIES, read_halves, write_csv

FILES = (HALVES, PROBABILITIES)


def write(
    variant: VariantData, first: NDArray[np.int64], found: Halves, epochs: int, folder: Path
) -> HalvesMetrics:
    """Write halves.csv and probabilities.npy; returns the content of metrics.json.

    Args:
        first: the rows of the first half. epochs: the number of epochs on each half.
    """
    half = np.full(len(variant.ids), 2)
    half[first] = 1
    loss, forgotten = found.holdout_loss.astype(np.float32), found.forgotten.astype(np.int64)
    columns = {"holdout_loss": loss, "forgotten": forgotten}
    write_csv(pd.DataFrame({"id": variant.ids, "half": half, **columns}), folder / HALVES)
    write_array(folder / PROBABILITIES, found.probabilities.astype(np.float32))
    joint = confident_joint(found.labels, found.probabilities)
    return HalvesMetrics(
        mean_holdout_loss=float(found.holdout_loss.mean()),
        holdout_accuracy=float((found.probabilities.argmax(axis=1) == found.labels).mean()),
        wrong=float(joint.sum() - joint.trace()),
        forgotten=float((found.forgotten <= epochs).mean()),
    )


def is_whole(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> bool:
    """Whether the table can be read; if not, it is said why."""
    try:
        read_halves(folder, variant, made_from)
    except InputError as error:
        print(error)
        return False
    return (folder / "metrics.json").exists()
