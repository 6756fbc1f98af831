"""Prints the results of a search for the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape
from rich.table import Table

from memtrack.config.yaml_file import Loc
from memtrack.core.evaluation.detection import Difference
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.tune.recipes.judge import RecipeOutcome, complete, current_trial
from memtrack.tune.recipes.ranking import CHOSEN, correlations
from memtrack.tune.recipes.search import RecipeSearch
from memtrack.tune.recipes.space import scores_of
from memtrack.tune.recipes.trials import recipe_of
from memtrack.tune.show import BEST, print_table
from memtrack.tune.study import finished


def trials(search: RecipeSearch) -> None:
    """Print the best trials, and the one with the recipe of params.yaml."""
    whole, done = complete(search), finished(search.study)
    if not whole:
        return
    pruned = [trial for trial in done if trial.state is TrialState.PRUNED]
    failed = sum("failed" in trial.user_attrs for trial in pruned)
    counts = f"{len(done)} trials, {len(pruned) - failed} pruned" + f", {failed} failed" * bool(failed)
    table = Table(title=f"Study {escape(search.study.study_name)}: the best recipes ({counts})")
    keys = list(search.space.searched)
    for heading in ("trial", *keys, "score", "AUROC of flips", "s"):
        table.add_column(heading, justify="right")
    shown = whole[:BEST] + [trial for trial in whole[BEST:] if trial.user_attrs.get("current")]
    for trial in shown:
        table.add_row(*_cells(search, trial, keys))
    print_table(table)
    print(f"AUROC of flips: how well the best score finds {search.space.search.share:.0%} flipped labels; "
          "*: the recipe of params.yaml")  # fmt: skip


def _cells(search: RecipeSearch, trial: FrozenTrial, keys: list[str]) -> list[str]:
    recipe = recipe_of(trial, search.space)
    mark = "*" if trial.user_attrs.get("current") else ""
    return [
        f"{mark}{trial.number}",
        *(_shown(recipe[key]) for key in keys),
        str(trial.user_attrs["score"]),
        f"{trial.values[0]:.4f}",
        f"{trial.user_attrs['seconds']:.0f}",
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def outcome(search: RecipeSearch, found: RecipeOutcome) -> None:
    """Print the best recipe beside that of params.yaml, and the verdict."""
    if found.confirmed is not None:
        table = Table(title="The best recipe beside params.yaml")
        table.add_column("AUROC of")
        for heading in ("recipe", "params.yaml", "difference", "interval"):
            table.add_column(heading, justify="right")
        own = "-" if found.default_chosen is None else f"{found.default_chosen:.4f}"
        gap = "-" if found.default_chosen is None else f"{found.chosen - found.default_chosen:+.4f}"
        table.add_row(f"the flips of {found.looked} trials", f"{found.chosen:.4f}", own, gap, "")
        _row(table, f"other flips, by {found.score} and {found.default_score}", found.confirmed)
        if found.suspicion is not None:
            _row(table, "other flips, by suspicion", found.suspicion)
        print_table(table)
        print("The interval is about the samples; another seed of the training would move both numbers, too.")
    print(found.verdict)


def use(search: RecipeSearch, found: RecipeOutcome, *, written: bool) -> None:
    """Print what to put into params.yaml for a recipe that is better."""
    changes: Mapping[Loc, Any] = search.space.keys(found.winner)
    print(
        "The recipe is written to params.yaml:"
        if written
        else "To use it, add --write, or put into params.yaml:"
    )
    for loc, value in changes.items():
        print(f"    {'.'.join(map(str, loc))}: {json.dumps(value)}")
    if found.score != SUSPICION:
        name = scores_of(search.space.trained(found.winner))[found.score]
        print(f"The score is the column {name} of scores.csv (evaluate.scores names it, or is null)")


def ranking(search: RecipeSearch, ranked: pd.DataFrame) -> None:
    """Print how well the AUROC of the flips ranks the trials by that of the wrong labels."""
    found, current = correlations(ranked), current_trial(search)
    if not found:
        return
    print("\nOnly for the record: which labels of this variant are wrong is known. No trial has seen it.")
    table = Table(title="AUROC of flips against AUROC of the wrong labels, over the trials")
    table.add_column("score")
    for heading in ("trials", "Spearman", "best by flips", "best of all", "params.yaml"):
        table.add_column(heading, justify="right")
    for name, value in found.items():
        rows = ranked[ranked["score"] == name].sort_values("auroc_flips", ascending=False)
        wrong = rows["auroc_wrong"]
        own = [] if current is None else wrong[rows["trial"] == current.number].tolist()
        aurocs = [f"{found:.4f}" for found in (wrong.iloc[0], wrong.max(), *own)]
        cells = f"{value:.2f}", *aurocs
        table.add_row(name if name != CHOSEN else "best of each trial", str(len(rows)), *cells)
    print_table(table)


def _row(table: Table, what: str, found: Difference) -> None:
    table.add_row(what, f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}",
                  f"{found.low:+.4f} to {found.high:+.4f}")  # fmt: skip
