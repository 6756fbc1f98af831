"""Where things are: in the project, also when a stage runs in a throw-away copy of it."""

from __future__ import annotations

import os
from pathlib import Path

from memtrack.config.sections.base import PREPARED, VARIANTS

PREPARED_FOLDER = Path(PREPARED)
VARIANTS_FOLDER = Path(VARIANTS)
TRAIN_RESULTS = Path("results/train")
EVALUATE_RESULTS = Path("results/evaluate")
DUPLICATES_RESULTS = Path("results/duplicates")
REPEAT_RESULTS = Path("results/repeat")
MEMORIZATION_RESULTS = Path("results/memorization")
AGREEMENT_RESULTS = Path("results/agreement")
UTILITY_RESULTS = Path("results/utility")
TUNE_RESULTS = Path("results/tune")


def repeat_results(variant: str, seed: int) -> Path:
    """Where a variant with another seed is evaluated."""
    return REPEAT_RESULTS / f"{variant}-{seed}"


def repeat_training(variant: str, seed: int) -> Path:
    """Where stage `repeat` leaves the training itself."""
    return repeat_results(variant, seed) / "training"


def project_root() -> Path:
    """The real project. DVC names it in DVC_ROOT, also while a queued experiment runs in a copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def input_path(text: str) -> Path:
    """Where a path of params.yaml is, also in the copy of the project that an experiment runs in.

    Such a copy holds what git and DVC track. Files that are in it, and folders that DVC tracks, are
    taken from it; any other folder is the one in the real project.
    """
    path = Path(text)
    if path.is_file() or any(parent.with_name(f"{parent.name}.dvc").exists() for parent in _upward(path)):
        return path
    there = project_root() / path
    return there if there.exists() and not Path.cwd().samefile(project_root()) else path


def _upward(path: Path) -> list[Path]:
    return [step for step in (path, *path.parents) if step.name]
