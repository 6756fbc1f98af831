"""Trainings on one half of the samples, and then on the other half."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.config.params import Params
from memtrack.core.labels.splits import first_half
from memtrack.core.recording.eval_mode import frozen_eval
from memtrack.core.recording.logits import record_logits
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting

BATCH = 512
SIDES = 2


def halves_of(variant: VariantData, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the two halves of a variant, each in ascending order."""
    first = first_half(variant.given, seed)
    return np.flatnonzero(first), np.flatnonzero(~first)


class SplitTraining:
    """Trains a network on one half, and goes on with it on the other half for as many epochs.

    Both parts are trained with section `train`, each with an optimizer and a schedule of its own. After each
    epoch the samples of the half that is not being trained on are measured, in eval mode.

    Attributes:
        epochs: the number of epochs of both parts together.
        holdout_loss: the losses of the other half (M,), after the epoch of the first part with the lowest
            mean of them, and that mean. (Mindermann et al. take the network with the lowest loss, too.)
        last_right: the last epoch of the second part, from 1, after which a sample of the own half was
            classified correctly, int64 (N - M,); 0 if there is none.

    Args:
        own, other: the rows of the two halves.

    Raises:
        InputError: as `Fitting`.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        own: NDArray[np.int64],
        other: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self._params, self._data, self._device = params, data, device
        self._own, self._other = part_of(variant, own), part_of(variant, other)
        self._each = params.train.epochs
        self.epochs = 2 * self._each
        self.holdout_loss: NDArray[Any] = np.zeros(len(other), dtype=np.float32)
        self._least = float("inf")
        self._best: dict[str, Tensor] = {}
        self.last_right: NDArray[np.int64] = np.zeros(len(own), dtype=np.int64)
        self._fitting, self._second = self._fit(self._own), False

    @property
    def forgotten(self) -> NDArray[np.int64]:
        """The epoch of the second part from which each sample of the own half stays misclassified."""
        return self.last_right + 1

    def run_epoch(self, epoch: int) -> None:
        """Train for an epoch, from 1 to `epochs`.

        Raises:
            FloatingPointError: if the training diverges.
        """
        if epoch == self._each + 1:
            self._begin_second(self._fitting.state())
        self._fitting.run_epoch(epoch)
        swept = self._other if epoch <= self._each else self._own
        found: dict[str, NDArray[Any]] = dict(record_logits(self._fitting.model, self._batches(swept)))
        if epoch > self._each:
            self.last_right[found["correct"] > 0] = epoch - self._each
            return
        mean = float(found["loss"].mean(dtype=np.float64))
        if mean < self._least:
            self._least, self.holdout_loss = mean, found["loss"]
            state = self._fitting.model.state_dict()
            self._best = {name: part.cpu().clone() for name, part in state.items()}

    def probabilities(self) -> NDArray[np.float32]:
        """The probabilities of all classes of the other half (M, C), in the network that `holdout_loss` is
        of. The training must have ended."""
        model = self._fitting.model
        model.load_state_dict(self._best)
        with frozen_eval(model), torch.no_grad():
            parts = [model(inputs).float().softmax(1).cpu() for inputs, _ in self._batches(self._other)]
        return torch.cat(parts).numpy()

    def state(self) -> dict[str, Any]:
        """Everything that training resumes from."""
        return {
            "fitting": self._fitting.state(),
            "second": self._second,
            "least": self._least,
            "best": self._best,
            "holdout_loss": torch.from_numpy(self.holdout_loss),
            "last_right": torch.from_numpy(self.last_right),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from the `state` of a training that was made with the same arguments."""
        self._second = state["second"]
        if self._second:
            self._fitting = self._fit(self._other)
        self._fitting.load_state(state["fitting"])
        self._least, self._best = state["least"], state["best"]
        self.holdout_loss = state["holdout_loss"].cpu().numpy()
        self.last_right = state["last_right"].cpu().numpy()

    def _begin_second(self, state: dict[str, Any]) -> None:
        """Begin with the other half, with the weights of `state` and a new optimizer."""
        fitting = self._fit(self._other)
        kept = {name: part for name, part in state.items() if name in ("model", "average")}
        fitting.load_state({**fitting.state(), **kept})
        self._fitting, self._second = fitting, True

    def _fit(self, part: VariantData) -> Fitting:
        return Fitting(self._params, self._data, part, self._device)

    def _batches(self, part: VariantData) -> Any:
        workers = self._params.train.workers
        return variant_batches(self._data, part, batch_size=BATCH, device=self._device, workers=workers)


def part_of(variant: VariantData, rows: NDArray[np.int64]) -> VariantData:
    """Some samples of a variant, which may have copies and changed pixels."""
    found = variant.only(rows, variant.given[rows])
    found.originals = variant.originals[rows]  # changed pixels are drawn by them
    return found
