"""The plan of a search: which samples choose the winner, which confirm it, and what scores are compared with.

A plan is made from the options and from what is trained. Making it opens no study, runs no stage and measures
no times.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import MEMORIZATION_RESULTS
from memtrack.core.memorization.correct_predictions import CorrectPredictions, DamagedNetworks
from memtrack.core.memorization.estimates import MEMORIZED, Counts
from memtrack.core.memorization.subsets import subset
from memtrack.ensembles.fingerprint import ensemble_fingerprint
from memtrack.ensembles.network_folder import NETWORKS
from memtrack.runs.code import code_hash
from memtrack.runs.fingerprint import Fingerprint
from memtrack.tune.options import Options, pick_variant
from memtrack.tune.space import Space
from memtrack.tune.trained_variant import TrainedVariant
from memtrack.tune.truth import Corruption, Memorization, Truth

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """Some samples of a variant (their rows), and what their scores are compared with."""

    trained: TrainedVariant
    rows: Rows
    truth: Truth


@dataclass(frozen=True)
class Plan:
    """A search before its study is opened.

    Attributes:
        trained: the variant that is searched on.
        choosing: the samples that the winner is chosen on.
        confirming: the samples that no trial sees; `where` describes them in words.
    """

    options: Options
    space: Space
    trained: TrainedVariant
    choosing: Side
    confirming: Side
    where: str

    @cached_property
    def key(self) -> str:
        """A hash of what the value of a trial depends on. Trials with different keys cannot be compared."""
        tune, truth = self.options.tune, self.choosing.truth
        causes = {
            **self.trained.causes,
            "weights": self.trained.weights,
            "scores": code_hash("memtrack.core.scores.from_trajectory", "memtrack.tune.truth"),
            **self.space.fixed,
        }
        if isinstance(truth, Memorization):
            causes["memorization"] = hashlib.sha256(truth.values.tobytes()).hexdigest()
        else:
            causes |= {"halves": tune.held_out is None, "standard_error": tune.standard_error}
        return Fingerprint(causes=causes).key

    @property
    def study_name(self) -> str:
        """The name in the options, or one made of the variant and the key."""
        return self.options.tune.study or f"{self.trained.name}-{self.key[:6]}"


def needed_stages(options: Options) -> list[str]:
    """The DVC stages whose results the search reads."""
    variant = pick_variant(options)
    if options.tune.objectives[0] == "memorization":
        estimated = variant in options.params.memorization.variants
        return [f"train@{variant}", *[f"memorization@{variant}"] * estimated]
    held_out = options.tune.held_out
    return [f"train@{variant}", *([] if held_out is None else [f"train@{held_out}"])]


def make_plan(options: Options) -> Plan:
    """The plan of a search.

    Raises:
        InputError: if the options do not fit what is trained, or if there are too few samples to find.
    """
    space = Space(options.params, options.tune)
    if options.params.curvature.method == "hessian":
        text = "hessian has no h to search: choose forward or central"
        raise options.params.curvature.mistake("method", message=text)
    trained = TrainedVariant(options.params, pick_variant(options), space.all_epochs, space.smallest)
    asks_memorization = options.tune.objectives[0] == "memorization"
    split = _by_memorization if asks_memorization else _by_corruption
    choosing, confirming, where = split(options, trained, space)
    for side in (choosing, confirming):
        if min(np.bincount(side.truth.flags, minlength=2)) < 2:
            raise _too_few(options, trained, side)
    return Plan(options, space, trained, choosing, confirming, where)


def _too_few(options: Options, trained: TrainedVariant, side: Side) -> InputError:
    if isinstance(side.truth, Memorization):
        text = (
            f"{trained.name} has too few samples with a memorization above {MEMORIZED} to search on: choose "
            "another variant, or increase memorization.models"
        )
        return options.mistake("variant", text)
    halved = options.tune.held_out is None
    text = "has too few corrupted or clean samples: choose another variant"
    if halved:
        text += ", or name one in tune.held_out, so that this one is not halved"
    return InputError([Problem(side.trained.variant.table, message=text)])


def _by_corruption(options: Options, trained: TrainedVariant, space: Space) -> tuple[Side, Side, str]:
    """With known corruption, another variant or the other half of the samples confirms the winner."""
    _check_corruption(options, "variant", trained)
    tune, corrupted = options.tune, trained.corrupted
    if tune.held_out is None:
        first, second = (Side(trained, rows, Corruption(corrupted[rows])) for rows in halves(corrupted))
        return first, second, "the other half of the samples"
    held_out = TrainedVariant(options.params, tune.held_out, space.all_epochs, space.smallest)
    _check_corruption(options, "held_out", held_out)
    if np.array_equal(held_out.variant.given, trained.variant.given):
        text = f"has the same labels as {trained.name}: it would confirm any winner"
        raise options.mistake("held_out", text)
    choosing, confirming = (
        Side(one, np.arange(len(one.corrupted)), Corruption(one.corrupted)) for one in (trained, held_out)
    )
    return choosing, confirming, f"the variant {tune.held_out}"


def _check_corruption(options: Options, key: str, trained: TrainedVariant) -> None:
    if not trained.variant.flags_known:
        text = (
            f"no label of the variant {trained.name} is known to be corrupted: choose one with known "
            "corruption"
        )
        raise options.mistake(key, text)


def _by_memorization(options: Options, trained: TrainedVariant, _: Space) -> tuple[Side, Side, str]:
    """With memorization, half of the samples and networks choose the winner; the other halves confirm it."""
    for key in options.overridden & {"held_out", "standard_error"}:
        if getattr(options.tune, key) is not None:
            text = "has no effect if objectives is [memorization]: leave it out"
            raise options.mistake(key, text)
    chosen, samples = options.params.memorization, len(trained.variant.ids)
    networks = _estimated_networks(options, trained)
    members = partial(subset, samples, share=chosen.share, seed=chosen.seed)
    estimates = []
    for start in (0, 1):
        counts = Counts(samples)
        networks.count(counts, range(start, len(networks), 2), members)
        estimates.append(counts.memorization)
    known = np.flatnonzero(~np.isnan(estimates).any(axis=0))
    memorized = (np.mean(estimates, axis=0) > MEMORIZED)[known]
    first, second = (
        Side(trained, known[rows], Memorization(estimate[known[rows]]))
        for rows, estimate in zip(halves(memorized), estimates, strict=True)
    )
    return first, second, "the other half of the samples, by the other half of the networks"


def _estimated_networks(options: Options, trained: TrainedVariant) -> CorrectPredictions:
    """The networks that stage memorization trained on the variant."""
    chosen, folder = options.params.memorization, MEMORIZATION_RESULTS / trained.name
    samples = len(trained.variant.ids), len(trained.data.split("test"))
    fingerprint = ensemble_fingerprint(
        options.params, trained.data, trained.variant, trained.device, share=chosen.share
    )
    estimated = Fingerprint.of_folder(folder)
    # it does not matter on which machine they were trained
    usable = estimated is not None and not fingerprint.differing(estimated) - {"device", "packages"}
    networks = CorrectPredictions(estimated.key if estimated is not None and usable else "", samples)
    if usable and (folder / NETWORKS).exists():
        with suppress(DamagedNetworks):
            networks.read(folder / NETWORKS)
    if not len(networks):
        command = f"`dvc repro memorization@{trained.name}`"
        text = f"is damaged, or not estimated as params.yaml says: run {command}"
        if trained.name not in chosen.variants:
            text += f", with {trained.name} in memorization.variants"
        raise InputError([Problem(folder, message=text)])
    return networks


def halves(flags: Flags) -> tuple[Rows, Rows]:
    """Split the samples into two halves, each with half of the samples to find. The draw is fixed."""
    generator = np.random.Generator(np.random.PCG64(0))
    parts = [generator.permutation(np.flatnonzero(group)) for group in (flags, ~flags)]
    first, second = (np.sort(np.concatenate([part[start::2] for part in parts])) for start in (0, 1))
    return first, second
