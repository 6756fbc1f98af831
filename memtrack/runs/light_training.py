"""A training that keeps nothing on disk and records only what follows from the logits.

A search trains many networks, and needs neither their curvature nor their checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.config.params import Params
from memtrack.core.recording.features import features
from memtrack.core.recording.logits import record_logits
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting

BATCH = 512
MOST = 2**28
"""So many numbers of weights are kept in memory (1 GiB) to compute features from them later."""


class LightTraining:
    """Trains on a variant as `memtrack.runs.training.train` does, to the same weights, in this process.

    Attributes:
        trajectory: what is recorded so far, after each recorded epoch: loss, probability, margin, correct,
            predicted and error_norm.
        keeps_networks: whether `features` can be asked for.
    """

    def __init__(
        self, params: Params, data: PreparedData, variant: VariantData, device: torch.device
    ) -> None:
        self._fitting = Fitting(params, data, variant, device)
        self._epochs, self._recorded = params.train.epochs, params.recorded_epochs()
        self._swept = variant_batches(
            data, variant, batch_size=BATCH, device=device, workers=params.train.workers
        )
        self._arrays: dict[str, dict[int, NDArray[np.generic]]] = {}
        size = sum(tensor.numel() for tensor in self._fitting.model.state_dict().values())
        self.keeps_networks = size * len(self._recorded) <= MOST
        self._weights: dict[int, dict[str, Tensor]] = {}

    @property
    def trajectory(self) -> InMemoryTrajectory:
        return InMemoryTrajectory(self._arrays)

    def run(self) -> Iterator[int]:
        """Train; yields every epoch once it is trained and, if it is to be, recorded.

        Raises:
            FloatingPointError: if the training diverges. InputError: as `Fitting`.
        """
        for epoch in range(1, self._epochs + 1):
            self._fitting.run_epoch(epoch)
            if epoch in self._recorded:
                for name, values in record_logits(self._fitting.model, self._swept).items():
                    self._arrays.setdefault(name, {})[epoch] = values
                if self.keeps_networks:
                    state = self._fitting.model.state_dict()
                    self._weights[epoch] = {name: part.cpu().clone() for name, part in state.items()}
            yield epoch

    def features(self, epoch: int) -> NDArray[np.float32]:
        """The features of the network after a recorded epoch, (N, features). The training must have ended."""
        self._fitting.model.load_state_dict(self._weights[epoch])
        return np.concatenate(list(features(self._fitting.model, self._swept)))
