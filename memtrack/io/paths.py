"""Where things are: in the project, also when a stage runs in a throw-away copy of it."""

from __future__ import annotations

import os
from pathlib import Path

from memtrack.io.params import PREPARED, VARIANTS

PREPARED_FOLDER = Path(PREPARED)
VARIANTS_FOLDER = Path(VARIANTS)
TRAIN_RESULTS = Path("results/train")
EVALUATE_RESULTS = Path("results/evaluate")


def project_root() -> Path:
    """The real project. DVC names it in DVC_ROOT, also while a queued experiment runs in a copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def input_path(text: str) -> Path:
    """A path of params.yaml: as it stands here, or else below the real project.

    A copy made for an experiment holds what git and DVC track; anything else a relative path names
    is in the project itself.
    """
    path = Path(text)
    return path if path.exists() else project_root() / path
