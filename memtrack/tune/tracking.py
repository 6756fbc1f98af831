"""A search in MLflow: one run for the study, and below it one for each trial."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from memtrack.config.paths import TRAIN_RESULTS, project_root
from memtrack.tracking.reference import read_reference
from memtrack.tracking.run import Run
from memtrack.tune.options import Options
from memtrack.tune.study import FOLDER, KEY, MACHINE, shown, storage_url


class StudyRuns:
    """Logs a study to MLflow. If the store is unreachable, the search continues and all is sent later.

    Args:
        variant: the name of the variant that is searched on. measured: the key of a trial's value.
        fixed: what is the same in all trials.
    """

    def __init__(
        self, options: Options, study: Study, *, variant: str, measured: str, fixed: Mapping[str, Any]
    ) -> None:
        tune = options.tune
        self._tracking, self._variant, self._study = options.params.tracking, variant, study
        self._key = str(study.user_attrs[KEY])
        self._measured = measured
        self._shown_url = shown(storage_url(tune))
        self._logged = project_root() / FOLDER / f"{self._key}.logged"
        training = read_reference(TRAIN_RESULTS / variant, f"run `dvc repro train@{variant}`")
        # what may change when a study is continued is logged as tags: parameters of a run cannot change
        tags = {f"tune.{name}": str(value) for name, value in tune.model_dump(exclude={"storage"}).items()}
        self._run = self._open(f"tune {study.study_name}", fixed, {}, self._key)
        self._run.log(tags=tags, status="RUNNING")
        self._run.log(links={"training_run": training.key})
        trained = Run.open(
            self._tracking,
            variant,
            name=f"{variant} (tuned)",
            parameters={},
            tags={},
            key=training.key,
            expected=True,
        )
        trained.log(links={"tune_run": self._key})
        trained.end()

    def log_finished(self, trials: Sequence[FrozenTrial]) -> None:
        """Log the finished trials of this machine that were not logged before."""
        known = set(self._logged.read_text().split()) if self._logged.exists() else set()
        for trial in trials:
            ours = trial.state.is_finished() and trial.user_attrs.get("machine") == MACHINE
            if ours and str(trial.number) not in known:
                self._log_trial(trial)
                with self._logged.open("a") as file:
                    file.write(f"{trial.number}\n")

    def end(
        self, status: str, files: Sequence[Path] = (), metrics: Mapping[str, float] | None = None
    ) -> None:
        """Log what the search found, and close its run."""
        self._run.log(files={f"tune/{path.name}": path for path in files}, metrics=metrics)
        self._run.end(status)

    def _log_trial(self, trial: FrozenTrial) -> None:
        # must give the same messages if it is called twice: a search may be killed between two of these lines
        ended = trial.datetime_complete
        assert ended is not None
        moment: dict[str, Any] = {"time": int(ended.timestamp() * 1000)}
        key = hashlib.sha256(f"{self._key} {trial.number}".encode()).hexdigest()[:32]
        self._run.send()  # the run of the study comes first
        run = self._open(f"trial {trial.number}", trial.params, {"optuna_state": trial.state.name}, key)
        metrics = {name: value for name, value in trial.user_attrs.items() if isinstance(value, float)}
        if trial.state is TrialState.COMPLETE:
            metrics[self._measured] = trial.values[0]
        history = {f"{self._measured}_so_far": list(trial.intermediate_values.items())}
        run.log(links={MLFLOW_PARENT_RUN_ID: self._key}, metrics=metrics, history=history, **moment)
        run.end("FAILED" if trial.state is TrialState.FAIL else "FINISHED", insist=False, final=True)

    def _open(self, name: str, parameters: Mapping[str, Any], tags: Mapping[str, str], key: str) -> Run:
        tags = {
            **tags,
            MLFLOW_SOURCE_NAME: f"tune {self._variant}",
            "optuna_study": self._study.study_name,
            "optuna_storage": self._shown_url,
        }
        return Run.open(self._tracking, self._variant, name=name, parameters=parameters, tags=tags, key=key)
