"""The trials of a search for the recipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from memtrack.config.paths import project_root
from memtrack.core.files import whole_file
from memtrack.tune.recipes.flipped_training import QUARTERS, FlippedTraining, Flips, Values
from memtrack.tune.recipes.space import Recipe, RecipeSpace
from memtrack.tune.study import FOLDER, KEY, MACHINE
from memtrack.tune.trials import HeldBack, TrialLoop

OF_SCORE = "auroc_"
"""What an attribute of a trial begins with that holds the AUROC of a score."""


def scores_of_trial(trial: FrozenTrial) -> dict[str, float]:
    """The AUROC of each score of a trial that was run to its end."""
    return {
        name.removeprefix(OF_SCORE): value
        for name, value in trial.user_attrs.items()
        if name.startswith(OF_SCORE) and isinstance(value, float)
    }


def recipe_of(trial: FrozenTrial, space: RecipeSpace) -> Recipe:
    """The recipe that a trial tried."""
    return space.default if trial.user_attrs.get("current") else space.recipe(trial.params)


def scores_folder(study: Study) -> Path:
    """The folder with the scores of a study's trials, which are kept by the machine that ran them."""
    return project_root() / FOLDER / "recipes" / str(study.user_attrs[KEY])


class RecipeWorker(TrialLoop):
    """Runs trials of the search for the recipe.

    Args:
        draws: the labels of each training of a trial, (N,). shown: whether a trial has a progress bar.
    """

    def __init__(
        self,
        study: Study,
        space: RecipeSpace,
        flips: Flips,
        draws: Sequence[NDArray[np.int64]],
        *,
        shown: bool,
    ) -> None:
        super().__init__(study)
        self.space, self.flips, self.draws, self._shown = space, flips, draws, shown

    def objective(self, trial: Trial, held_back: HeldBack) -> float:
        """The AUROC of the flips by the best score, the mean over the draws."""
        trial.set_user_attr("machine", MACHINE)
        current = bool(trial.user_attrs.get("current"))
        outside = current and self.space.values(self.space.default) is None
        recipe = self.space.default if outside else self.space.suggest(trial)
        if current:
            recipe = self.space.default
        start = time.monotonic()
        found: list[dict[str, Values]] = []
        try:
            for step, so_far in held_back.let_through(self._trained(trial.number, recipe, found)):
                ended = [max(self._aurocs(found[draw], draw).values()) for draw in range(len(found))]
                trial.report(float(np.mean([*ended, so_far])), step)
                if trial.should_prune() and not current:
                    raise optuna.TrialPruned
        except (FloatingPointError, torch.OutOfMemoryError) as error:
            trial.set_user_attr("failed", str(error)[:200])
            raise optuna.TrialPruned from None
        finally:
            trial.set_user_attr("seconds", round(time.monotonic() - start, 1))
        each = [self._aurocs(scores, draw) for draw, scores in enumerate(found)]
        names = set(each[0]).intersection(*each)
        means = {name: float(np.mean([one[name] for one in each])) for name in sorted(names)}
        for name, value in means.items():
            trial.set_user_attr(f"{OF_SCORE}{name}", value)
        best = max(means, key=means.__getitem__)
        trial.set_user_attr("score", best)
        self._keep(trial, found[0])
        return means[best]

    def _trained(
        self, number: int, recipe: Recipe, found: list[dict[str, Values]]
    ) -> Iterator[tuple[int, float]]:
        """Train on each draw and add its scores to `found`; yields (step, AUROC so far)."""
        params = self.space.trained(recipe)
        for draw, labels in enumerate(self.draws):
            training = FlippedTraining(params, self.flips, labels)
            what = f"trial {number}" + (f", draw {draw + 1}" if len(self.draws) > 1 else "")
            for quarter, so_far in training.run(what if self._shown else None):
                yield draw * QUARTERS + quarter, so_far
            found.append(training.scores)

    def _aurocs(self, scores: dict[str, Values], draw: int) -> dict[str, float]:
        """How well each score finds the flips of a draw."""
        return {name: self.flips.auroc(self.draws[draw], values) for name, values in scores.items()}

    def _keep(self, trial: Trial, scores: dict[str, Values]) -> None:
        """Keep the scores of the first draw."""
        with whole_file(scores_folder(self.study) / f"{trial.number}.npz") as file:
            np.savez(
                file,
                allow_pickle=False,
                **{name: values.astype(np.float32) for name, values in scores.items()},
            )
