"""`python -m memtrack.tune`: find the h and n that find known corruption best, without training again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing

import torch
from optuna.trial import TrialState

from memtrack.io.paths import TUNE_RESULTS
from memtrack.io.problems import entry_point
from memtrack.io.progress import Progress
from memtrack.tune import options as command_line
from memtrack.tune import report, show
from memtrack.tune.search import Search
from memtrack.tune.story import Story
from memtrack.tune.study import finished


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Search, judge and report; see the parser for the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    options = command_line.read(arguments)
    search = Search(options)
    deadline = time.time() + (options.tune.timeout or float("inf"))
    if options.worker is not None:
        parent = os.getppid()
        for _ in search.run_trials(deadline):
            if os.getppid() != parent:  # the process that started this one was killed
                break
        return 0
    story = Story(options.params.tracking, options.tune, search.trained.name, search.study)
    try:
        _run(search, story, arguments, deadline)
        outcome = report.judge(search)
        files = report.write(TUNE_RESULTS / search.trained.name, search, outcome)
    except BaseException as error:
        story.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, KeyboardInterrupt):
            print(f"\nthe study {search.study.study_name} has {len(finished(search.study))} trials: the same "
                  "command goes on", file=sys.stderr)  # fmt: skip
        raise
    story.end("FINISHED", files, report.metrics(outcome))
    show.trials(search)
    if outcome is None:
        print("no trial was run to its end: nothing to judge", file=sys.stderr)
        return 1
    show.outcome(outcome, search)
    print(f"Tables and pictures: {TUNE_RESULTS / search.trained.name}/")
    if outcome.better and options.write:
        command_line.write_params(search.space.keys(outcome.winner))
        print("params.yaml has the winner now; `dvc repro` records with it, from the checkpoints")
    elif outcome.better:
        changes = " ".join(f"-S {'.'.join(map(str, loc))}={value}"
                           for loc, value in search.space.keys(outcome.winner).items())  # fmt: skip
        print(f"Use it: --write puts it into params.yaml, or\n    dvc exp run {changes}")
    return 0


def _run(search: Search, story: Story, arguments: list[str], deadline: float) -> None:
    """All trials, with a bar; each is told to MLflow when it is finished."""
    tune, study = search.options.tune, search.study
    left = max(0, tune.trials - len(finished(study)))
    story.tell(study.get_trials(deepcopy=False))
    many = tune.workers > 1
    trials = _processes(search, arguments) if many else search.run_trials(deadline)
    with closing(trials):
        progress = Progress(trials, f"tune {study.study_name}", total=left)
        for _ in progress:
            known = study.get_trials(deepcopy=False)
            story.tell(known)
            values = [trial.values[0] for trial in known if trial.state is TrialState.COMPLETE]
            progress.note(best=max(values, default=float("nan")))
    story.tell(study.get_trials(deepcopy=False))


def _processes(search: Search, arguments: list[str]) -> Generator[None, None, None]:
    """Workers in processes of their own; one step for each trial that is finished."""
    workers = search.options.tune.workers
    threads = max(1, torch.get_num_threads() // workers)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "memtrack.tune", *arguments, "--worker", str(number)],
            env=environment,
            start_new_session=True,  # Ctrl-C comes to this process alone, which passes it on
        )
        for number in range(workers)
    ]
    counted = len(finished(search.study))
    try:
        running = True
        while running:
            running = any(process.poll() is None for process in processes)
            now = len(finished(search.study))
            yield from [None] * (now - counted)
            counted = now
            time.sleep(0.2 * running)
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()
    ended = [process.returncode for process in processes]
    if all(ended):
        raise RuntimeError(f"all workers ended early, with status {', '.join(map(str, ended))}")
    for number, status in enumerate(ended):
        if status:
            print(f"worker {number} ended with status {status}; the others went on", file=sys.stderr)


if __name__ == "__main__":
    main()
