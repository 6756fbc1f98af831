"""`python -m memtrack.tune`: search for the best h and n without training again."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

from optuna.trial import TrialState

from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tune import options as command_line
from memtrack.tune import report, show
from memtrack.tune.search import Search, open_search
from memtrack.tune.study import finished, full_disk
from memtrack.tune.tracking import StudyRuns
from memtrack.tune.workers import run_trials


@entry_point
@full_disk()
def main(argv: list[str] | None = None) -> int:
    """Search, compare the winner with the default, and report; the parser lists the exit statuses."""
    options = command_line.read(argv)
    search = open_search(options)
    deadline = time.time() + (options.tune.timeout or float("inf"))
    runs = StudyRuns(search)
    files: list[Path] = []
    try:
        _run(search, runs, deadline)
        show.trials(search)
        outcome = report.judge(search)
        files += report.write_outcome(search, outcome)
        if outcome is not None:
            show.outcome(outcome, search.choosing.truth.title)
            files += report.write_pictures(search, outcome.winner)
    except BaseException as error:
        runs.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", files)
        if isinstance(error, KeyboardInterrupt):
            print(f"\nthe study {search.study.study_name} has {len(finished(search.study))} trials: run the "
                  "same command to continue", file=sys.stderr)  # fmt: skip
        raise
    runs.end("FINISHED", files, report.metrics(outcome, search.choosing.truth.key))
    if outcome is None:
        print("no trial was run to its end: there is no winner to report", file=sys.stderr)
        return 1
    print(f"Tables and pictures: {report.folder(search.study)}/")
    if outcome.better:
        changes = search.space.keys(outcome.winner)
        if options.write:
            command_line.write_params(changes)
        show.use(outcome, changes, written=options.write)
    return 0


def _run(search: Search, runs: StudyRuns, deadline: float) -> None:
    """Run all trials, with a progress bar. Each trial is logged to MLflow when it is finished."""
    tune, study = search.options.tune, search.study
    left = max(0, tune.trials - len(finished(study)))
    runs.log_finished(study.get_trials(deepcopy=False))
    trials = run_trials(search, deadline) if tune.workers > 1 else search.run_trials(deadline)
    with closing(trials):
        progress = Progress(trials, f"tune {study.study_name}", total=left)
        for _ in progress:
            known = study.get_trials(deepcopy=False)
            runs.log_finished(known)
            values = [trial.values[0] for trial in known if trial.state is TrialState.COMPLETE]
            progress.note(best=max(values, default=float("nan")))
    runs.log_finished(study.get_trials(deepcopy=False))


if __name__ == "__main__":
    main()
