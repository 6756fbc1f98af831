"""The recipes that are searched, and the scores that each trial tries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from memtrack.config.params import Params
from memtrack.config.sections.recipe_search import (
    LOG_SCALES,
    PLACES,
    NumberRange,
    Searched,
    WholeRange,
    current,
    with_recipe,
)
from memtrack.config.yaml_file import Loc
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.tune.options import Options

Recipe = dict[str, Any]
"""A value for each key that is searched."""
PLAIN = ("csl", "aum", "el2n", "confidence", "inconfidence")
"""The scores of a trial that look at all recorded epochs, or at the last one."""
WINDOWS = {"el2n_first_third": 1 / 3, "el2n_first_half": 1 / 2}
"""EL2N over a share of the recorded epochs, the first ones."""
SO_FAR = ("csl", "aum", "el2n", "confidence")
"""The scores by which trials are compared before they have ended."""
TRIED = (*PLAIN, *WINDOWS, SUSPICION)
DIGITS = 2
"""Numbers of a range are rounded to so many significant digits, so that params.yaml stays readable."""


class RecipeSpace:
    """The space of the recipes."""

    def __init__(self, options: Options) -> None:
        self.params, self.search = options.params, options.tune.recipe
        params = self.params
        self.searched: dict[str, Searched] = self.search.searched(params.train, params.problems_with)
        self.default: Recipe = {key: current(params.train, key) for key in self.searched}

    @property
    def fixed(self) -> dict[str, Any]:
        """What must be the same in all trials of a study."""
        found = {
            key: list(each) if isinstance(each, tuple) else each.model_dump()
            for key, each in self.searched.items()
        }
        chosen = self.search.model_dump(include={"draws", "share", "trusted"})
        return {**found, **chosen, "scores": list(TRIED)}

    def suggest(self, trial: Trial) -> Recipe:
        """The recipe that a trial tries."""
        return self.recipe({key: self._suggested(trial, key, each) for key, each in self.searched.items()})

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe for a trial's parameters: numbers of a range are rounded."""
        return {key: _rounded(values[key], each) for key, each in self.searched.items()}

    def values(self, recipe: Recipe) -> Recipe | None:
        """The parameters of a trial that tries the recipe, or None if it is outside the space."""
        inside = all(_holds(each, recipe[key]) for key, each in self.searched.items())
        return dict(recipe) if inside else None

    def first(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The parameters and attributes of the first trials: what params.yaml says, then the other losses in
        as few epochs as are searched."""
        own = self.values(self.default)
        found: list[tuple[dict[str, Any], dict[str, Any]]] = [(own or {}, {"current": True})]
        cheap = dict(self.default)
        if epochs := self.searched.get("epochs"):
            cheap["epochs"] = min(epochs) if isinstance(epochs, tuple) else int(epochs.low)
        losses = self.searched.get("loss", ())
        for loss in losses if isinstance(losses, tuple) else ():
            changed = {**cheap, "loss": loss}
            if changed != self.default and self.values(changed) is not None:
                found.append((changed, {}))
        return found

    def trained(self, recipe: Recipe) -> Params:
        """params.yaml with another recipe in `train`."""
        train = with_recipe(self.params.train, recipe)
        return self.params.model_copy(update={"train": train})

    def keys(self, recipe: Recipe) -> dict[Loc, Any]:
        """The values of params.yaml to train with the recipe, as far as they are others than now."""
        train = with_recipe(self.params.train, recipe).model_dump(mode="json")
        found: dict[Loc, Any] = {}
        for key, value in recipe.items():
            if value != self.default[key]:
                new: Any = train
                for part in PLACES[key]:
                    new = new[part]
                found["train", *PLACES[key]] = new
        return found

    def largest(self) -> Params | None:
        """params.yaml with the widest network that is searched, or None if the width is not searched."""
        wanted = self.searched.get("width")
        if wanted is None:
            return None
        most = max(wanted) if isinstance(wanted, tuple) else wanted.high
        return self.trained({"width": most})

    def _suggested(self, trial: Trial, key: str, searched: Searched) -> Any:
        match searched:
            case NumberRange(low=low, high=high):
                return trial.suggest_float(key, low, high, log=key in LOG_SCALES)
            case WholeRange(low=low, high=high):
                return trial.suggest_int(key, low, high, log=key in LOG_SCALES)
            case _:
                return trial.suggest_categorical(key, list(searched))


def scores_of(params: Params) -> dict[str, str]:
    """The name in scores.csv of each score that needs the numbers of the epochs alone."""
    recorded = params.recorded_epochs()
    windows = {
        title: f"el2n_epochs_{recorded[0]}_{recorded[math.ceil(len(recorded) * share) - 1]}"
        for title, share in WINDOWS.items()
    }
    return {**{name: name for name in PLAIN}, **windows}


def _rounded(value: Any, searched: Searched) -> Any:
    if not isinstance(searched, NumberRange):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), searched.low), searched.high)


def _holds(searched: Searched, value: Any) -> bool:
    if isinstance(searched, tuple):
        return value in searched
    return value is not None and searched.low <= value <= searched.high


def sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of a name in the parameters; there is no grid."""
    match name:
        case "gp":
            return GPSampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "qmc":
            return QMCSampler(seed=seed, scramble=True, warn_asynchronous_seeding=False)
        case _:
            return TPESampler(seed=seed)


def pruner(name: str) -> BasePruner:
    """The pruner of a name in the parameters."""
    match name:
        case "none":
            return NopPruner()
        case "hyperband":
            return HyperbandPruner(min_resource=1)
        case _:
            return MedianPruner()
