"""GraNd: the norm of a sample's gradient in the weights, early in training."""

from __future__ import annotations

from math import ceil

import numpy as np

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score
from memtrack.core.scores.weight_gradients import squared_gradient_norms

EARLY = 0.25
"""The share of the recorded epochs that counts as early."""


@score(
    title="GraNd",
    needs=(Need.NETWORKS,),
    cost="two to three epochs of training for each early recorded epoch",
    by_default=False,
)
def grand(networks: RecordedNetworks) -> Values:
    """GraNd: mean over early epochs of || d l / d w ||, the norm of the gradient of the sample's loss in all
    trained weights. Early is the first quarter of the recorded epochs, rounded up.

    The paper takes the mean over trainings with other seeds, at one epoch of the first tenth of the training.
    Within one training, the mean over early epochs stands for it.

    Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, definition 2.1.
    """
    early = networks.epochs[: ceil(EARLY * len(networks.epochs))]
    rows = np.arange(len(networks.labels))
    total = np.zeros(len(rows))
    for model in networks.models(early):
        total += np.sqrt(squared_gradient_norms(model, networks.batches(rows)))
    return total / len(early)
