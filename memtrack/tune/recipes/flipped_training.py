"""One training of a recipe on labels flipped on purpose, and how well scores find the flips.

No clean label is read: what was given before counts as right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.evaluation.detection import auroc
from memtrack.core.scores import Need, compute
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.light_training import LightTraining
from memtrack.runs.trained_networks import NearestSamples
from memtrack.terminal.progress import Progress
from memtrack.tune.recipes.space import SO_FAR, TRIED, scores_of

Values = NDArray[np.float64]
QUARTERS = 4
"""Trials are compared after each quarter of their epochs."""


@dataclass(frozen=True)
class Flips:
    """What recipes are judged on: samples whose labels are flipped on purpose.

    Attributes:
        variant: the samples with the labels that are given.
        trusted: the samples that may be flipped, (N,).
        pixels: finds the samples that are nearest by pixels; see `NearestSamples`.
    """

    data: PreparedData
    variant: VariantData
    device: torch.device
    trusted: NDArray[np.bool_]
    pixels: Callable[[int], NDArray[np.int64]]

    def auroc(self, labels: NDArray[np.int64], scores: Values) -> float:
        """How well scores (N,) tell the flips in `labels` (N,) from the other trusted samples."""
        return auroc(self.flags(labels)[self.trusted], scores[self.trusted])

    def flags(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which labels are flipped, (N,)."""
        return labels != self.variant.given


class FlippedTraining:
    """Trains a recipe on flipped labels.

    Attributes:
        scores: after the training, each of `TRIED` that could be computed, (N,).
    """

    def __init__(self, params: Params, flips: Flips, labels: NDArray[np.int64]) -> None:
        self._params, self._flips, self._labels = params, flips, labels
        self.scores: dict[str, Values] = {}

    def run(self, what: str | None) -> Iterator[tuple[int, float]]:
        """Train; yields the best AUROC so far after each quarter but the last one, with the number of the
        quarter. `what` is shown beside a progress bar; None: no bar.

        Raises:
            FloatingPointError: if the training diverges.
        """
        flips, epochs = self._flips, self._params.train.epochs
        variant = flips.variant.flipped(self._labels)
        training = LightTraining(self._params, flips.data, variant, flips.device)
        done, quarter = training.run(), 0
        for epoch in done if what is None else Progress(done, what, total=epochs, inner=True):
            reached = QUARTERS * epoch // epochs
            if quarter < reached < QUARTERS and training.trajectory.arrays:
                quarter = reached
                known = {Need.EPOCHS: training.trajectory}
                yield quarter, max(flips.auroc(self._labels, compute(name, known)) for name in SO_FAR)
        evidence = {
            Need.EPOCHS: training.trajectory,
            Need.NEIGHBOURS: NearestSamples(self._labels, training.features, flips.pixels),
        }
        names = scores_of(self._params)
        if training.keeps_networks:
            names[SUSPICION] = SUSPICION
        self.scores = {title: compute(names[title], evidence) for title in TRIED if title in names}
