"""A training with turn-over dropout, and what the two halves of the network say of each sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.recording.logits import record_logits
from memtrack.core.training.turn_over import OwnMasks
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import FittedEpoch, Fitting
from memtrack.runs.networks import load_starting_weights

BATCH = 256


class TurnOverTraining(Fitting):
    """Trains the network of section `train` with turn-over dropout.

    Options that train other networks or mix samples, `mixup`, `average` and `co_training`, are left out, and
    the network is not compiled.

    Args:
        seed: of the masks.
    """

    def __init__(
        self, params: Params, data: PreparedData, variant: VariantData, device: torch.device, seed: int
    ) -> None:
        plain = {"mixup": None, "average": None, "co_training": None, "compile": False}
        alone = params.model_copy(update={"train": params.train.model_copy(update=plain)})
        super().__init__(alone, data, variant, device)
        self._masks = OwnMasks(self.model, seed)
        self._swept = variant_batches(
            data, variant, batch_size=BATCH, device=device, workers=params.train.workers
        )

    def run_epoch(self, epoch: int) -> FittedEpoch:
        """Train for one epoch; see `Fitting.run_epoch`. The test split is not looked at."""
        if epoch == 1:
            load_starting_weights(self._trainer.trained, self._chosen)
        rate, batches = self._trainer.learning_rate, self._fit.shuffled(seed=self._seed, epoch=epoch)
        masked = self._masks.following(batches, batches.cuts())
        result = self._trainer.run_epoch(epoch, masked, batches.counts(), batches.cuts())
        return FittedEpoch(result.loss, result.accuracy, float("nan"), rate)

    def self_influence(self) -> NDArray[np.float64]:
        """The loss of each sample in the half of the network that was never trained on it, minus that in the
        half that was, (N,)."""
        losses = []
        for flipped in (True, False):
            self._masks.flipped = flipped
            batches = self._masks.following(self._swept, self._swept.cuts())
            losses.append(record_logits(self.model, batches)["loss"].astype(np.float64))
        self._masks.flipped = False
        return losses[0] - losses[1]
