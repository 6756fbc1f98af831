"""Prints the results of a search."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memtrack.config.yaml_file import Loc
from memtrack.core.evaluation.detection import Difference
from memtrack.tune.report import Outcome
from memtrack.tune.search import Search
from memtrack.tune.study import complete, cost_of, finished

BEST = 10


def print_table(table: Table) -> None:
    """Print a table, 100 columns wide where the output is no terminal."""
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def trials(search: Search) -> None:
    """Print the best trials; with two objectives, those of the Pareto front."""
    study = search.study
    done = finished(study)
    names = list(search.space.grid())

    def setting(trial: FrozenTrial) -> tuple[Any, ...]:
        return tuple(trial.params[name] for name in names)

    tried = {setting(trial) for trial in done}
    whole = {setting(trial): trial for trial in reversed(complete(study, search.space))}
    ordered = sorted(whole.values(), key=lambda trial: -trial.values[0])
    shown, title = ordered[:BEST], "the best"
    if len(study.directions) == 2:
        front = [trial.values for trial in study.best_trials]
        shown, title = [trial for trial in ordered if trial.values in front], "the Pareto front"
    if not shown:
        return
    table = Table(
        title=f"Study {escape(study.study_name)}: {title} of {len(tried)} settings ({len(done)} trials, "
        f"{sum(trial.state is TrialState.PRUNED for trial in done)} pruned)"
    )
    for heading in ("trial", *names, search.choosing.truth.title, "cost"):
        table.add_column(heading, justify="right")
    for trial in shown:
        cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in setting(trial)]
        cost = cost_of(search.space.setting(trial.params), study)
        table.add_row(str(trial.number), *cells, f"{trial.values[0]:.4f}", f"{cost:.2f}x")
    print_table(table)
    print("cost: time of training and recording, in trainings without recording")


def outcome(found: Outcome, title: str) -> None:
    """Print the winner beside the default, and the verdict; `title` names the numbers."""
    table = Table(title="The winner beside params.yaml")
    table.add_column(f"{title} on")
    for heading in ("winner", "params.yaml", "difference", "interval"):
        table.add_column(heading, justify="right")
    _row(table, f"the samples it was chosen on (by {found.looked} trials)", found.chosen)
    _row(table, f"samples it was not chosen on ({found.held_out})", found.confirmed)
    print_table(table)
    winner = found.winner
    print(f"winner: h = {winner.perturbation_scale:g}, n = {winner.probes}, norm {winner.norm}, score "
          f"{winner.score}; cost {found.cost:.2f}x, params.yaml {found.default_cost:.2f}x")  # fmt: skip
    print(found.verdict)


def use(found: Outcome, changes: Mapping[Loc, Any], *, written: bool) -> None:
    """Print how to use a winner that is better; `changes` are the values that params.yaml needs for it."""
    options = " ".join(f"-S {'.'.join(map(str, loc))}={value}" for loc, value in changes.items())
    if not changes:
        print("params.yaml needs no change")
    elif written:
        print("The winner is written to params.yaml; `dvc repro` records with it, from the checkpoints")
    elif any(isinstance(value, dict) for value in changes.values()):  # dvc exp run takes no mappings
        print("To use it, add --write, which writes it to params.yaml")
    else:
        print(f"To use it, add --write, which writes it to params.yaml, or run\n    dvc exp run {options}")
    if found.winner.score != found.default.score:
        print(f"The score is the column {found.winner.score} of scores.csv")


def _row(table: Table, what: str, found: Difference) -> None:
    table.add_row(what, f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}",
                  f"{found.low:+.4f} to {found.high:+.4f}")  # fmt: skip
