"""Runs the trials of a search of either kind, and shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from typing import Protocol

from optuna.study import Study
from optuna.trial import TrialState

from memtrack.terminal.progress import Progress
from memtrack.tune.options import Options
from memtrack.tune.study import finished
from memtrack.tune.tracking import StudyRuns
from memtrack.tune.workers import run_trials


class Searching(Protocol):
    """A search, ready to run."""

    @property
    def options(self) -> Options: ...

    @property
    def study(self) -> Study: ...

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each trial."""
        ...


def run_with_progress(search: Searching, runs: StudyRuns, deadline: float) -> None:
    """Run all trials, with a progress bar. Each trial is logged to MLflow when it is finished."""
    study = search.study
    left = max(0, search.options.trials - len(finished(study)))
    runs.log_finished(study.get_trials(deepcopy=False))
    several = search.options.tune.workers > 1
    trials = run_trials(search.options, study, deadline) if several else search.run_trials(deadline)
    with closing(trials):
        progress = Progress(trials, f"tune {study.study_name}", total=left)
        for _ in progress:
            known = study.get_trials(deepcopy=False)
            runs.log_finished(known)
            values = [trial.values[0] for trial in known if trial.state is TrialState.COMPLETE]
            progress.note(best=max(values, default=float("nan")))
    runs.log_finished(study.get_trials(deepcopy=False))


def say_how_to_continue(study: Study) -> None:
    """Print that an interrupted search can go on."""
    text = f"the study {study.study_name} has {len(finished(study))} trials: run the same command to continue"
    print(f"\n{text}", file=sys.stderr)
