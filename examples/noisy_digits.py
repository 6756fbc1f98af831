"""scikit-learn's digits with 10% wrong labels, and the options and the output that all examples have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor


class Digits(NamedTuple):
    """images: float32 (N, 1, 8, 8) with mean 0 and standard deviation 1. labels: int64 (N,). wrong: which
    labels are not the true ones, (N,)."""

    images: Tensor
    labels: Tensor
    wrong: NDArray[np.bool_]


def options(name: str, epochs: int) -> argparse.Namespace:
    """How long the training is, on how many samples, and the folder of the recorder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--folder", type=Path, default=Path("recorded", name))
    return parser.parse_args()


def noisy_digits(samples: int) -> Digits:
    """The first digits. A tenth of them, drawn at random, gets a random other label."""
    digits, draw = load_digits(), np.random.default_rng(0)
    images = torch.tensor(digits.images[:samples], dtype=torch.float32)[:, None]
    labels, wrong = digits.target[:samples], np.zeros(samples, dtype=bool)
    wrong[draw.choice(samples, samples // 10, replace=False)] = True
    labels = np.where(wrong, (labels + draw.integers(1, 10, samples)) % 10, labels)
    return Digits((images - images.mean()) / images.std(), torch.from_numpy(labels), wrong)


def show(scores: pd.DataFrame, wrong: NDArray[np.bool_], folder: Path) -> None:
    """Print the most suspect samples, and how well some scores find the wrong labels."""
    columns = ["given_label", "suggested_label", "kind", "suspicion", "curvature"]
    print(scores.sort_values("suspicion", ascending=False)[columns].head().to_string())
    for name in ("suspicion", "curvature", "csl", "aum"):
        print(f"{name}: AUROC {roc_auc_score(wrong, scores[name]):.4f}")
    truth = folder.with_name(f"{folder.name}_wrong.csv")
    pd.DataFrame({"id": scores.index, "corrupted": wrong.astype(int)}).to_csv(truth, index=False)
    print(f"tables, pictures and a page: memtrack evaluate {folder} --corrupted {truth}")
