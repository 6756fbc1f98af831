"""A prepared data set that costs nothing: grey images of noise in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memtrack.config.sections.data import Digits
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected


def prepare_noise(samples: int, side: int) -> PreparedData:
    """Write data/prepared here: images of `side` x `side` pixels, a fifth of them for testing."""
    images = np.random.default_rng(0).integers(0, 256, (samples, 1, side, side), dtype=np.uint8)
    names, labels = [f"s{number}" for number in range(samples)], ["a", "b"] * (samples // 2)
    held_out = samples // 5
    splits = ["train"] * (samples - held_out) + ["test"] * held_out
    collected = Collected(names, labels, splits, ("a", "b"), images)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    return PreparedData()
