"""A prepared data set that costs nothing: grey images of noise in two classes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from memtrack.config.sections.data import Digits
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.tracking.run import Run


def prepare_noise(samples: int, side: int) -> PreparedData:
    """Write data/prepared here: images of `side` x `side` pixels, a fifth of them for testing."""
    images = np.random.default_rng(0).integers(0, 256, (samples, 1, side, side), dtype=np.uint8)
    names, labels = [f"s{number}" for number in range(samples)], ["a", "b"] * (samples // 2)
    held_out = samples // 5
    splits = ["train"] * (samples - held_out) + ["test"] * held_out
    collected = Collected(names, labels, splits, ("a", "b"), images)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    return PreparedData()


@contextmanager
def project_in(folder: Path, empty_store: Path) -> Iterator[None]:
    """Inside this block the working directory is `folder`, and no network is logged to its store."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(Run, "model", lambda *_: None)
        shutil.copy(empty_store, "mlflow.db")
        yield
