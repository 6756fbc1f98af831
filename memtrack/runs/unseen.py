"""The features of samples in networks that were never trained on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.recording.features import features
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting
from memtrack.runs.halves import BATCH, halves_of, part_of
from memtrack.terminal.progress import Progress


def unseen_features(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Train a network on each half of the samples with section `train`. The halves follow from train.seed.

    Yields:
        the rows of the other half (M,), and the features of all samples in the network, (N, features).

    Raises:
        FloatingPointError: if a training diverges. InputError: as `Fitting`.
    """
    halves = halves_of(variant, params.train.seed)
    for own, other in (halves, halves[::-1]):
        fitting = Fitting(params, data, part_of(variant, own), device)
        for epoch in Progress(range(1, params.train.epochs + 1), f"train on {len(own)} samples"):
            fitting.run_epoch(epoch)
        batches = variant_batches(
            data, variant, batch_size=BATCH, device=device, workers=params.train.workers
        )
        yield other, np.concatenate(list(features(fitting.model, batches)))
