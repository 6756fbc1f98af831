"""The tables of samples that stages evaluate and memorization write, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.io.problems import InputError, Problem
from memtrack.io.variants import VariantData

WORDS = ("id", "image", "given_label", "clean_label", "predicted_label", "corrupted")


def read_scores(path: Path, variant: VariantData) -> pd.DataFrame:
    """All columns; class names stay as they are, also None and 007. `InputError` for other samples."""
    scores = pd.read_csv(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False)
    if sorted(scores["id"]) != sorted(variant.ids):
        text = f"is damaged or of other samples: run `dvc repro evaluate@{variant.name}`"
        raise InputError([Problem(path, message=text)])
    return scores


def score_names(table: pd.DataFrame) -> list[str]:
    """The names of the scores, the first one first."""
    return [name for name in table.columns if f"{name}_rank" in table.columns]


def read_memorization(folder: Path, variant: VariantData) -> NDArray[np.float64]:
    """The memorization of each sample (N,), from memorization.csv in `folder`; NaN where it is not known."""
    path = folder / "memorization.csv"
    table = pd.read_csv(path, dtype={"id": str}, keep_default_na=False, na_values={"memorization": ""})
    if sorted(table["id"]) != sorted(variant.ids):
        text = f"is damaged or of other samples: run `dvc repro memorization@{variant.name}`"
        raise InputError([Problem(path, message=text)])
    return table.set_index("id")["memorization"].loc[variant.ids].to_numpy(dtype=np.float64)
