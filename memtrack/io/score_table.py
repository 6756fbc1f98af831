"""The tables of samples that stages evaluate and memorization write, read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.io.problems import InputError, Problem
from memtrack.io.variants import VariantData

WORDS = ("id", "image", "given_label", "clean_label", "predicted_label", "corrupted")


def read_scores(path: Path, variant: VariantData) -> pd.DataFrame:
    """All columns; class names stay as they are, also None and 007. `InputError` for other samples."""
    remedy = f"run `dvc repro evaluate@{variant.name}`"
    try:
        scores = pd.read_csv(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError([Problem(path, message=f"cannot be read ({error}): {remedy}")]) from None
    if "id" not in scores or sorted(scores["id"]) != sorted(variant.ids):
        raise InputError([Problem(path, message=f"is damaged or of other samples: {remedy}")])
    return scores


def score_names(table: pd.DataFrame) -> list[str]:
    """The names of the scores, the first one first."""
    return [name for name in table.columns if f"{name}_rank" in table.columns]


def read_memorization(folder: Path, variant: VariantData) -> NDArray[np.float64]:
    """The memorization of each sample (N,), from memorization.csv in `folder`; NaN where it is not known."""
    remedy = f"run `dvc repro memorization@{variant.name}`"
    found = _column(folder / "memorization.csv", "memorization", variant.ids, remedy)
    return found.replace("", "nan").to_numpy(dtype=np.float64)


def read_influenced(folder: Path, tests: Sequence[str], variant: str) -> NDArray[np.bool_]:
    """Which test samples are in an influential pair beyond the noise, (T,), from test.csv in `folder`."""
    remedy = f"run `dvc repro memorization@{variant}`"
    found = _column(folder / "test.csv", "sure_pairs", tests, remedy)
    return found.to_numpy(dtype=np.int64) > 0


def _column(path: Path, name: str, ids: Sequence[str], remedy: str) -> pd.Series[str]:
    """A column of numbers, or nothing, as words in the order of `ids`; `InputError` where the table is
    damaged, or of others."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        pd.to_numeric(table[name].replace("", "0"))
        whole = path.read_bytes().endswith(b"\n")
    except (OSError, ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise InputError([Problem(path, message=f"cannot be read ({error}): {remedy}")]) from None
    if not whole or "id" not in table or sorted(table["id"]) != sorted(ids):
        raise InputError([Problem(path, message=f"is damaged or of other samples: {remedy}")])
    return table.set_index("id")[name].loc[list(ids)]
