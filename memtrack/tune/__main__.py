"""`python -m memtrack.tune`: search for the best h and n without training again, or for the best recipe."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from memtrack.terminal.entry_point import entry_point
from memtrack.tune import options as command_line
from memtrack.tune import report, show
from memtrack.tune.running import run_with_progress, say_how_to_continue
from memtrack.tune.search import open_search
from memtrack.tune.study import full_disk
from memtrack.tune.tracking import StudyRuns


@entry_point
@full_disk()
def main(argv: list[str] | None = None) -> int:
    """Search, compare the winner with the default, and report; the parser lists the exit statuses."""
    options = command_line.read(argv)
    if options.recipe:
        from memtrack.tune.recipes.command import run  # the other search needs none of it

        return run(options)
    search = open_search(options)
    deadline = time.time() + (options.tune.timeout or float("inf"))
    runs = StudyRuns(
        options,
        search.study,
        variant=search.plan.trained.name,
        measured=search.choosing.truth.key,
        fixed=search.space.fixed,
    )
    files: list[Path] = []
    try:
        run_with_progress(search, runs, deadline)
        show.trials(search)
        outcome = report.judge(search)
        files += report.write_outcome(search, outcome)
        if outcome is not None:
            show.outcome(outcome, search.choosing.truth.title)
            files += report.write_pictures(search, outcome.winner)
    except BaseException as error:
        runs.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", files)
        if isinstance(error, KeyboardInterrupt):
            say_how_to_continue(search.study)
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


if __name__ == "__main__":
    main()
