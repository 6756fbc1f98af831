"""Pictures of trials, stored where optuna-dashboard finds them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import Trial

from memtrack.config.paths import project_root
from memtrack.report import figures

TITLES = {"perturbation_scale": "h", "probes": "n"}
FOLDER = Path(".memtrack/tune/artifacts")


def attach(trial: Trial, values: NDArray[np.float64], found: NDArray[np.bool_], judged: str) -> None:
    """Attach a histogram of a trial's score to the trial, with the samples to be `found` shown apart."""
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "score.png"
        parameters = ", ".join(f"{TITLES.get(name, name)} {value}" for name, value in trial.params.items())
        figures.histograms({f"{judged} at {parameters}": values}, found, path)
        store = FileSystemArtifactStore(folder)
        upload_artifact(study_or_trial=trial, file_path=str(path), artifact_store=store)
