"""A search for the recipe: what its trials are judged on, its study, and its trials."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import TrialState

from memtrack.config.paths import TRAIN_RESULTS
from memtrack.core.evaluation.mislabelled import check_flips
from memtrack.core.scores import Need
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.core.training.devices import compute_deterministically
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import trajectory_causes
from memtrack.runs.code import code_hash
from memtrack.runs.fingerprint import Fingerprint, check_labels
from memtrack.runs.networks import check_memory, chosen_device
from memtrack.runs.suspects import flips
from memtrack.runs.trained import TrainedRun
from memtrack.tune.options import Options
from memtrack.tune.recipes.flipped_training import Flips
from memtrack.tune.recipes.space import TRIED, RecipeSpace, pruner, sampler
from memtrack.tune.recipes.trials import RecipeWorker, scores_of_trial
from memtrack.tune.search import reproduce
from memtrack.tune.study import KEY, NewStudy, sampler_seed, shared_study

SEEN, UNSEEN = 1, 2
"""Parts of the seed of the flips: those of the trials, and those that no trial sees."""


@dataclass(frozen=True)
class RecipeSearch:
    """A search for the recipe, ready to run.

    Attributes:
        flips: what recipes are judged on. draws: the labels of the trials, each (N,).
        unseen: labels with other flips, on which the winner is confirmed, (N,).
        key: a hash of what the value of a trial depends on.
    """

    options: Options
    space: RecipeSpace
    variant: VariantData
    trained: TrainedRun
    flips: Flips
    draws: list[NDArray[np.int64]]
    unseen: NDArray[np.int64]
    key: str
    study: Study
    worker: int | None

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each trial."""
        worker = RecipeWorker(self.study, self.space, self.flips, self.draws, shown=self.worker is None)
        return worker.work(self.options.trials, deadline)


def pick_variant(options: Options) -> str:
    """The variant to search on: the one that is named, or the first one, if possible one with other labels
    than those of the data set."""
    named, variants = options.tune.variant, options.params.variants
    changed = (name for name, variant in variants.items() if variant.kind != "none")
    return named or next(changed, next(iter(variants)))


def open_recipe_search(options: Options, worker: int | None = None) -> RecipeSearch:
    """Flip labels, and open the study.

    Args:
        worker: as in `open_search`.

    Raises:
        InputError: if the options do not fit what is trained, or if the storage cannot be used.
    """
    compute_deterministically()
    params, name, search = options.params, pick_variant(options), options.tune.recipe
    if options.repro and worker is None:
        reproduce([f"train@{name}"])
    if options.tune.sampler == "grid":
        raise options.mistake("sampler", "grid is for h and n: choose tpe, gp, random or qmc")
    space, data = RecipeSpace(options), PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    check_labels(params, variant)
    trained = TrainedRun(params, data, variant, TRAIN_RESULTS / name, f"train@{name}")
    device, largest = chosen_device(params.train), space.largest()
    if largest is not None:
        check_memory(largest.train, data.info, len(variant.ids), device, robust=largest.train)
    seeds = [[options.tune.seed, SEEN, draw] for draw in range(search.draws)]
    trusted, drawn = flips(
        variant,
        trained,
        share=search.share,
        trusted=search.trusted,
        seeds=[*seeds, [options.tune.seed, UNSEEN, 0]],
    )
    *draws, unseen = drawn
    pixels = trained.evidence([SUSPICION])[Need.NEIGHBOURS].pixels
    judged = Flips(data, variant, device, trusted, pixels)
    try:
        check_flips(judged.flags(unseen), trusted)
    except ValueError as error:
        text = f"{name} has too few samples for {search.share:g}: {error}"
        raise options.mistake("recipe.share", text) from None
    key = _key(options, space, variant, device, drawn)
    study_name = options.tune.study if "study" in options.overridden else None
    new = NewStudy(
        ("auroc",),
        pruner(options.tune.pruner),
        dict,
        space.first(),
        "labels, flips, parameters of `train` or choices (tune.recipe)",
    )
    study = shared_study(
        options, study_name or f"{name}-recipe-{key[:6]}", key, new, partial(_damage, space=space)
    )
    seed = sampler_seed(options.tune, worker or 0, len(study.get_trials(deepcopy=False)))
    study.sampler = sampler(options.tune.sampler, seed)
    return RecipeSearch(options, space, variant, trained, judged, draws, unseen, key, study, worker)


def _key(
    options: Options,
    space: RecipeSpace,
    variant: VariantData,
    device: torch.device,
    drawn: list[NDArray[np.int64]],
) -> str:
    """A hash of what the value of a trial depends on."""
    causes: dict[str, Any] = {
        **trajectory_causes(options.params, variant),
        "device": device.type,
        "flips": [hashlib.sha256(labels.tobytes()).hexdigest() for labels in drawn],
        "searched": space.fixed,
        "code": code_hash("memtrack.runs.light_training", "memtrack.tune.recipes.flipped_training"),
    }
    return Fingerprint(causes=causes).key


def _damage(study: Study, space: RecipeSpace) -> str | None:
    """What in the study this program cannot have written, or None."""
    if KEY not in study.user_attrs:
        return "it lacks its key"
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        found = scores_of_trial(trial)
        own = trial.user_attrs.get("current") is True
        if not own and not space.searched.keys() <= trial.params.keys():
            return f"trial {trial.number} lacks a parameter"
        if not found or trial.user_attrs.get("score") not in TRIED:
            return f"trial {trial.number} lacks its scores"
        if not 0 <= trial.values[0] <= 1:
            return f"trial {trial.number} has the value {trial.values[0]:g}, not one of 0 to 1"
    return None
