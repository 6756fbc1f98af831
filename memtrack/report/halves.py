"""The table of stage `halves`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError
from memtrack.data.variants import VariantData
from memtrack.report.metrics import HalvesMetrics
from memtrack.report.sample_tables import HALVES as TABLE
from memtrack.report.sample_tables import read_halves, write_csv

__all__ = ["TABLE", "is_whole", "write"]


def write(
    variant: VariantData,
    first: NDArray[np.int64],
    holdout_loss: NDArray[np.float32],
    forgotten: NDArray[np.int64],
    epochs: int,
    folder: Path,
) -> HalvesMetrics:
    """Write halves.csv; returns the content of metrics.json.

    Args:
        first: the rows of the first half. holdout_loss, forgotten: see `memtrack.core.scores.halves.Halves`.
        epochs: the number of epochs on each half.
    """
    half = np.full(len(variant.ids), 2)
    half[first] = 1
    table = {"id": variant.ids, "half": half, "holdout_loss": holdout_loss, "forgotten": forgotten}
    write_csv(pd.DataFrame(table), folder / TABLE)
    return HalvesMetrics(
        mean_holdout_loss=float(holdout_loss.mean(dtype=np.float64)),
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
