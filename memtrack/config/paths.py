"""The locations of files in the project, also when a stage runs in a temporary copy of it."""

from __future__ import annotations

import os
from pathlib import Path

from memtrack.config.repository import nearest_with
from memtrack.config.sections.base import PREPARED, VARIANTS

PREPARED_FOLDER = Path(PREPARED)
VARIANTS_FOLDER = Path(VARIANTS)
CODE_RESULTS = Path("results/code")
PREPARE_RESULTS = Path("results/prepare")
TRAIN_RESULTS = Path("results/train")
SUSPECTS_RESULTS = Path("results/suspects")
AVERAGED_RESULTS = Path("results/averaged")
HALVES_RESULTS = Path("results/halves")
LAYERS_RESULTS = Path("results/layers")
EVALUATE_RESULTS = Path("results/evaluate")
DUPLICATES_RESULTS = Path("results/duplicates")
QUALITY_RESULTS = Path("results/quality")
EXPORT_RESULTS = Path("results/export")
CLEAN_RESULTS = Path("results/clean")
BENEFIT_RESULTS = Path("results/benefit")
REPORT_RESULTS = Path("results/report")
REPEAT_RESULTS = Path("results/repeat")
MEMORIZATION_RESULTS = Path("results/memorization")
AGREEMENT_RESULTS = Path("results/agreement")
UTILITY_RESULTS = Path("results/utility")
TUNE_RESULTS = Path("results/tune")


def repeat_results(variant: str, seed: int) -> Path:
    """The folder of the evaluation of a variant with another seed."""
    return REPEAT_RESULTS / f"{variant}-{seed}"


def repeat_training(variant: str, seed: int) -> Path:
    """The folder in which stage `repeat` stores the training itself."""
    return repeat_results(variant, seed) / "training"


def flipped_training(variant: str, draw: int) -> Path:
    """The folder in which stage `suspects` stores a training with flipped labels."""
    return SUSPECTS_RESULTS / variant / "trainings" / str(draw)


def averaged_training(variant: str, key: str) -> Path:
    """The folder in which stage `averaged` stores another training."""
    return AVERAGED_RESULTS / variant / "trainings" / key


def project_root() -> Path:
    """The real project, which may be a folder of a DVC repository. DVC sets DVC_ROOT to the repository, also
    while a queued experiment runs in a copy of it."""
    here, repository = Path.cwd().resolve(), os.environ.get("DVC_ROOT")
    if not repository:
        return here
    return Path(repository).resolve() / here.relative_to(nearest_with(".dvc", here) or here)


def input_path(text: str) -> Path:
    """Resolve a path of params.yaml, also in the copy of the project that an experiment runs in.

    Such a copy contains what git and DVC track. Files in the copy, and folders that DVC tracks, are
    read from the copy; any other folder is read from the real project.
    """
    path = Path(text)
    if path.is_file() or any(parent.with_name(f"{parent.name}.dvc").exists() for parent in _upward(path)):
        return path
    original = project_root() / path
    return original if original.exists() and not Path.cwd().samefile(project_root()) else path


def _upward(path: Path) -> list[Path]:
    return [step for step in (path, *path.parents) if step.name]
