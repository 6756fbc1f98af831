"""TracIn: how much a sample's own training steps lowered its loss."""

from __future__ import annotations

import numpy as np

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score
from memtrack.core.scores.weight_gradients import squared_gradient_norms


@score(
    title="self-influence (TracIn)",
    needs=(Need.NETWORKS,),
    cost="two to three epochs of training for each recorded epoch",
    by_default=False,
)
def tracin(networks: RecordedNetworks) -> Values:
    """Self-influence by TracIn: the sum over recorded epochs of (learning rate x || d l / d w ||^2). w are
    all trained weights, and the learning rate is that at the start of the epoch.

    It is the first-order decrease of a sample's loss by plain gradient steps on the sample. Momentum, AdamW's
    scaling, and other learning rates of some layers are left out, as in the paper.

    Source: Pruthi, Liu, Kale & Sundararajan, NeurIPS 2020, TracInCP.
    """
    rows = np.arange(len(networks.labels))
    total = np.zeros(len(rows))
    for epoch, model in zip(networks.epochs, networks.models(), strict=True):
        total += networks.learning_rate(epoch) * squared_gradient_norms(model, networks.batches(rows))
    return total
