"""The best recipe beside the one in params.yaml, on flips that no trial has seen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from memtrack.config.json_files import StrictModel, read_json
from memtrack.core.evaluation.detection import Difference, paired_difference
from memtrack.core.files import whole_file
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.tune.recipes.flipped_training import FlippedTraining, Values
from memtrack.tune.recipes.search import RecipeSearch
from memtrack.tune.recipes.space import Recipe
from memtrack.tune.recipes.trials import recipe_of, scores_of_trial
from memtrack.tune.report import folder
from memtrack.tune.study import finished

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class RecipeOutcome:
    """The best recipe beside the one in params.yaml.

    Attributes:
        key: that of the search. trial: the number of the best trial.
        score, default_score: the score that found the flips best, with the best recipe and with params.yaml.
        chosen, default_chosen: the AUROC in the trials; None if params.yaml was not run to its end.
        confirmed: the AUROC on flips that no trial has seen, each recipe with its score; None if the best
            recipe is that of params.yaml.
        suspicion: the same with the score `suspicion`, if both have it.
        looked: how many trials looked at the flips on which the best recipe was chosen.
    """

    key: str
    trial: int
    winner: Recipe
    default: Recipe
    score: str
    default_score: str
    chosen: float
    default_chosen: float | None
    confirmed: Difference | None
    suspicion: Difference | None
    looked: int

    @property
    def better(self) -> bool:
        """Whether the best recipe beats that of params.yaml beyond the noise on flips that no trial saw."""
        return self.confirmed is not None and self.confirmed.low > 0

    @property
    def verdict(self) -> str:
        """The recommendation, in words."""
        if self.confirmed is None:
            return "No recipe found the flips better than the one in params.yaml: no change is recommended."
        if self.better:
            return "The recipe is better than params.yaml beyond the noise: a change is recommended."
        return (
            "On flips that no trial has seen the recipe is not better than params.yaml beyond the noise: no "
            "change is recommended."
        )


class _Kept(StrictModel):
    """outcome.json."""

    key: str
    trial: int
    winner: dict[str, Any]
    default: dict[str, Any]
    score: str
    default_score: str
    chosen: float
    default_chosen: float | None
    confirmed: dict[str, float] | None
    suspicion: dict[str, float] | None
    looked: int
    better: bool
    verdict: str


def complete(search: RecipeSearch) -> list[FrozenTrial]:
    """The trials that were run to their end, the best first; of equal ones the earlier first."""
    trials = search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-trial.values[0], trial.number))


def current_trial(search: RecipeSearch) -> FrozenTrial | None:
    """The trial with the recipe of params.yaml, if it was run to its end."""
    return next((trial for trial in complete(search) if trial.user_attrs.get("current")), None)


def judge(search: RecipeSearch, *, train: bool = True) -> RecipeOutcome | None:
    """Train the best recipe and that of params.yaml on flips that no trial has seen, and compare them.

    What was found before is read back. None if no trial was run to its end, or if nothing was found before
    and `train` is false.
    """
    trials = complete(search)
    if not trials:
        return None
    [best, *_], own = trials, current_trial(search)
    if own is not None and best.values[0] <= own.values[0]:
        best = own
    known = _kept(search)
    if known is not None and known.trial == best.number and known.looked == len(finished(search.study)):
        return known
    winner = recipe_of(best, search.space)
    changed = winner != search.space.default
    if changed and not train:
        return None
    score = str(best.user_attrs["score"])
    default_score = score if own is None else str(own.user_attrs["score"])
    confirmed = suspicion = None
    if changed:
        ours, theirs = (
            _unseen(search, winner, "the recipe"),
            _unseen(search, search.space.default, "params.yaml"),
        )
        confirmed = _difference(search, ours[score], theirs[default_score])
        if SUSPICION in ours and SUSPICION in theirs:
            suspicion = _difference(search, ours[SUSPICION], theirs[SUSPICION])
    return RecipeOutcome(
        search.key,
        best.number,
        winner,
        search.space.default,
        score,
        default_score,
        scores_of_trial(best)[score],
        None if own is None else scores_of_trial(own)[default_score],
        confirmed,
        suspicion,
        len(finished(search.study)),
    )


def _unseen(search: RecipeSearch, recipe: Recipe, what: str) -> dict[str, Values]:
    """The scores of a recipe, trained on the flips that no trial has seen."""
    training = FlippedTraining(search.space.trained(recipe), search.flips, search.unseen)
    for _ in training.run(f"confirm {what}"):
        pass
    return training.scores


def _difference(search: RecipeSearch, ours: Values, theirs: Values) -> Difference:
    among, confidence = search.flips.trusted, search.options.params.evaluate.confidence
    flags = search.flips.flags(search.unseen)
    return paired_difference(flags[among], ours[among], theirs[among], confidence)


def _kept(search: RecipeSearch) -> RecipeOutcome | None:
    """What an earlier run of the same search has found, if anything."""
    path = folder(search.study) / OUTCOME
    if not path.exists():
        return None
    content = read_json(_Kept, path).model_dump(exclude={"better", "verdict"})
    if content["key"] != search.key:
        return None
    for name in ("confirmed", "suspicion"):
        if content[name] is not None:
            content[name] = Difference(**content[name])
    return RecipeOutcome(**content)


def write_outcome(search: RecipeSearch, outcome: RecipeOutcome | None) -> list[Path]:
    """Write the trials and the outcome to results/tune/STUDY; returns the paths of the files."""
    directory = folder(search.study)
    directory.mkdir(parents=True, exist_ok=True)
    columns = ("number", "value", "params", "user_attrs", "state", "datetime_start", "duration")
    search.study.trials_dataframe(columns).to_csv(directory / "trials.csv", index=False)
    if outcome is None:
        return [directory / "trials.csv"]
    content = {**asdict(outcome), "better": outcome.better, "verdict": outcome.verdict}
    with whole_file(directory / OUTCOME) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    return [directory / "trials.csv", directory / OUTCOME]


def metrics(outcome: RecipeOutcome | None) -> dict[str, float]:
    """The outcome's numbers for MLflow."""
    if outcome is None:
        return {}
    found = {"trials": float(outcome.looked), "chosen_auroc": outcome.chosen}
    if outcome.default_chosen is not None:
        found["chosen_auroc_default"] = outcome.default_chosen
    for name, judged in (("unseen", outcome.confirmed), ("unseen_suspicion", outcome.suspicion)):
        if judged is not None:
            found |= {f"{name}_auroc": judged.first, f"{name}_auroc_default": judged.second}
            found |= {f"{name}_difference": judged.difference, f"{name}_difference_low": judged.low}
    return found
