"""`memtrack tune --recipe` from its options to what it prints."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from memtrack.tune import options as command_line
from memtrack.tune.options import Options
from memtrack.tune.recipes import show
from memtrack.tune.recipes.judge import RecipeOutcome, judge, metrics, write_outcome
from memtrack.tune.recipes.ranking import correlations, ranking, write_ranking
from memtrack.tune.recipes.search import RecipeSearch, open_recipe_search
from memtrack.tune.report import folder
from memtrack.tune.running import run_with_progress, say_how_to_continue
from memtrack.tune.tracking import StudyRuns


def run(options: Options) -> int:
    """Search, compare the best recipe with that of params.yaml, and report; returns the exit status."""
    search = open_recipe_search(options)
    if options.show:
        show.trials(search)
        return _report(search, judge(search, train=False))
    deadline = time.time() + (options.tune.timeout or float("inf"))
    runs = StudyRuns(
        options, search.study, variant=search.variant.name, measured="auroc", fixed=search.space.fixed
    )
    files: list[Path] = []
    try:
        run_with_progress(search, runs, deadline)
        show.trials(search)
        outcome = judge(search)
        files += write_outcome(search, outcome)
        status = _report(search, outcome)
        numbers = metrics(outcome)
        if search.variant.flags_known:
            ranked = ranking(search)
            files.append(write_ranking(search, ranked))
            show.ranking(search, ranked)
            numbers |= {f"spearman_{name}": found for name, found in correlations(ranked).items()}
    except BaseException as error:
        runs.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", files)
        if isinstance(error, KeyboardInterrupt):
            say_how_to_continue(search.study)
        raise
    runs.end("FINISHED", files, numbers)
    return status


def _report(search: RecipeSearch, outcome: RecipeOutcome | None) -> int:
    """Print the outcome, and write the recipe if it is better and this is wanted; the exit status."""
    if outcome is None:
        print("no trial was run to its end, or the best recipe is not confirmed yet", file=sys.stderr)
        return 1
    show.outcome(search, outcome)
    print(f"Tables: {folder(search.study)}/")
    if outcome.better:
        if search.options.write:
            command_line.write_params(search.space.keys(outcome.winner))
        show.use(search, outcome, written=search.options.write)
    return 0
