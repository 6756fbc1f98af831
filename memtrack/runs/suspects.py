"""Trainings with labels that are flipped on purpose, and what is learned from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.config.paths import TRAIN_RESULTS, flipped_training
from memtrack.core.evaluation.mislabelled import (
    FlippedTraining,
    Mislabelled,
    check_flips,
    learned,
)
from memtrack.core.labels.flips import flipped
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores import Need, compute, ranks
from memtrack.core.scores.suspicion import SUSPICION, suggested_labels, suspicion_features
from memtrack.core.training.distributed import World
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.trained import TrainedRun
from memtrack.runs.trained_networks import NearestSamples
from memtrack.runs.training import train

LEAST = 0.7
"""The AUROC of the flips below which nothing is learned: probabilities would follow from chance."""


@dataclass(frozen=True)
class Suspects:
    """What was learned of a variant.

    Attributes:
        params: with which it was learned. run: its training. found: suspicion and probabilities.
        features: the names of the scores that suspicion is made of.
        suggested: the label that is suggested in place of the given one, int64 (N,).
        share: its share of the votes for other labels, (N,).
        recovered: the share of the flipped labels for which the given one is suggested.
    """

    params: Params
    variant: VariantData
    run: TrainedRun
    found: Mislabelled
    features: tuple[str, ...]
    suggested: NDArray[np.int64]
    share: NDArray[np.float64]
    recovered: float


def learn(params: Params, name: str, world: World) -> Suspects | None:
    """Train on the variant `name` with flipped labels, as far as this is not done, and learn from it.

    Args:
        world: the processes that train together, each of which calls this function. The first one learns.

    Raises:
        InputError: as `train`, and if there is no training of the variant, or it has too few samples.
    """
    data = PreparedData.current(params.data)
    variant = VariantData(name, data)
    run = TrainedRun(params, data, variant, TRAIN_RESULTS / name, f"train@{name}")
    options = params.suspects
    seeds = [[options.seed, draw] for draw in range(options.draws)]
    trusted, draws = world.decided(
        lambda: flips(variant, run, share=options.share, trusted=options.trusted, seeds=seeds)
    )
    try:
        for labels in draws:
            check_flips(labels != variant.given, trusted)
    except ValueError as error:
        text = (
            f"{error}: {params.suspects.share:g} of the {len(trusted)} samples of {name} are flipped: raise "
            "it, or remove the variant from suspects.variants"
        )
        raise params.suspects.mistake("share", message=text) from None
    # before the trainings, which may take hours: a pretrained network may be refused
    names, features = world.decided(lambda: _features(run))
    for draw, labels in enumerate(draws):
        train(
            params,
            name,
            flipped_training(name, draw),
            run_name=f"{name}, flipped labels {draw}",
            labels=labels,
            world=world,
        )
    if not world.is_first:
        return None
    trainings, recovered = [], []
    classes = len(variant.summary.classes)
    for draw, labels in enumerate(draws):
        other = TrainedRun(
            params,
            data,
            variant.flipped(labels),
            flipped_training(name, draw),
            f"suspects@{name}",
            alike=run,
        )
        flipped_ones = labels != variant.given
        trainings.append(FlippedTraining(_features(other)[1], flipped_ones, trusted))
        suggested, _ = suggested_labels(*_evidence(other), classes=classes)
        recovered.append(float((suggested == variant.given)[flipped_ones].mean()))
    found = learned(features, trainings, seed=params.suspects.seed)
    if found.auroc < LEAST:
        text = (
            f"nothing can be learned of {name}: its flipped labels are told from the others with an AUROC of "
            f"{found.auroc:.2f}, and {LEAST} is needed; train it in another way, or remove it here"
        )
        raise params.suspects.mistake("variants", message=text)
    suggested, share = suggested_labels(*_evidence(run), classes=classes)
    return Suspects(params, variant, run, found, names, suggested, share, float(np.mean(recovered)))


def _evidence(run: TrainedRun) -> tuple[EpochArrays, NearestSamples]:
    evidence = run.evidence([SUSPICION])
    return evidence[Need.EPOCHS], evidence[Need.NEIGHBOURS]


def _features(run: TrainedRun) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The names and the values (N, K) of the scores that suspicion is made of."""
    found = suspicion_features(*_evidence(run), run.evidence([SUSPICION]).get(Need.PRETRAINED))
    return tuple(found), np.stack(list(found.values()), axis=1)


def flips(
    variant: VariantData,
    run: TrainedRun,
    *,
    share: float,
    trusted: float,
    seeds: Iterable[Sequence[int]],
) -> tuple[NDArray[np.bool_], list[NDArray[np.int64]]]:
    """Flip labels of a variant on purpose, as its training `run` confuses them.

    Args:
        share: of the samples, whose labels are flipped. trusted: of the samples, among which they are drawn:
            the least suspect ones. seeds: one for each draw.

    Returns:
        which samples may be flipped (N,), and the labels of each draw, int64 (N,).
    """
    suspicion = compute(SUSPICION, run.evidence([SUSPICION]))
    among = ranks(-suspicion) <= trusted * len(suspicion)
    predicted = [values.astype(np.int64) for values in run.trajectory.each("predicted")]
    classes = len(variant.summary.classes)
    return among, [
        flipped(variant.given, predicted, among, classes=classes, share=share, seed=seed) for seed in seeds
    ]
