"""The training of a network on a variant, one epoch at a time: everything that its weights depend on.

The fingerprint of a training holds a hash of this module and of all modules that it imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from memtrack.config.params import Params
from memtrack.config.sections.train import TrainParams
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.co_training import JoCoR
from memtrack.core.training.devices import compute_deterministically
from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.losses import Loss, build_loss
from memtrack.core.training.trainer import Trainer
from memtrack.data.batches import held_out_batches, variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.networks import chosen_precision, load_starting_weights, training_network
from memtrack.runs.transforms import chosen_transforms

TEST_BATCH = 512
_RANDOM_LABELS = 1
"""Tells the random numbers of `Fitting.random_label_drop` from those of other steps."""


@dataclass(frozen=True)
class FittedEpoch:
    """Mean loss and accuracy during an epoch, the accuracy on the test split after it, and the learning rate
    at its start."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float
    learning_rate: float


def robust_options(train: TrainParams, samples: int, classes: int) -> dict[str, Any]:
    """The arguments of a `Trainer` for training that resists wrong labels."""
    if train.co_training is not None:
        loss: Loss = JoCoR(**train.co_training.model_dump(exclude={"kind"}))
    else:
        loss = build_loss(**train.loss.model_dump(), samples=samples, classes=classes)
    return {"loss": loss, "mixup": train.mixup, "average": train.average, "sam": train.sam}


class Fitting:
    """The network of section `train`, and its training.

    Raises:
        InputError: if several processes cannot share the batches.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        train = params.train
        transforms = chosen_transforms(train, data.info)
        torch.manual_seed(train.seed)
        compute_deterministically(train.deterministic or device.type != "cuda")
        model = training_network(train.model, data.info, train).to(device)
        if device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        self._params, self._data, self._variant, self._device = params, data, variant, device
        self._chosen, self._seed = train.model, train.seed
        self._fit = variant_batches(
            data, variant, batch_size=train.batch_size, device=device, workers=train.workers,
            transform=transforms, part=world.of_each,
        )  # fmt: skip
        if world.size > 1 and (alone := train.alone()):
            raise train.mistake(
                alone, message=f"is for whole batches, and there are {world.size} processes: use one"
            )
        fewest = min(self._fit.counts())
        if fewest < world.size:
            text = (
                f"{world.size} processes cannot share a batch of {fewest} samples, which each epoch has: "
                "choose fewer, or another train.batch_size"
            )
            raise params.compute.mistake("processes", message=text)
        self._test = held_out_batches(
            data, variant, batch_size=TEST_BATCH, device=device, workers=train.workers, part=world.some_of
        )
        self._trainer = Trainer(
            model,
            optimizer=train.optimizer.model_dump(),
            schedule=train.schedule.model_dump(),
            augment=Augmentation(train.augment.crop, train.augment.flip),
            epochs=train.epochs,
            steps=len(self._fit),
            seed=train.seed,
            precision=chosen_precision(train, device),
            compiled=train.compile,
            world=world,
            shape=data.info.shape,
            sample_weights=variant.weights,
            **robust_options(train, len(variant.ids), len(data.info.classes)),
        )

    @property
    def model(self) -> nn.Module:
        """The network that is recorded, on the device."""
        return self._trainer.model

    def run_epoch(self, epoch: int) -> FittedEpoch:
        """Train for one epoch.

        Raises:
            FloatingPointError: if the loss is no longer finite.
            InputError: if the weights that the first epoch starts from cannot be loaded.
        """
        if epoch == 1:
            load_starting_weights(self._trainer.trained, self._chosen)
        rate = self._trainer.learning_rate
        batches = self._fit.shuffled(seed=self._seed, epoch=epoch)
        result = self._trainer.run_epoch(epoch, batches, self._fit.counts(), self._fit.cuts())
        return FittedEpoch(result.loss, result.accuracy, self._trainer.accuracy(self._test), rate)

    def random_label_drop(self, epoch: int) -> float:
        """How far a step on a batch with random labels would lower their loss after `epoch`; see
        `memtrack.core.training.susceptibility`. Images and labels are drawn from (seed, epoch).

        Raises:
            InputError: if the network cannot be copied.
        """
        train, samples = self._params.train, len(self._variant.ids)
        draw = np.random.default_rng([train.seed, epoch, _RANDOM_LABELS])
        rows = np.sort(draw.choice(samples, min(train.batch_size, samples), replace=False))
        ((inputs, given),) = variant_batches(
            self._data, self._variant, batch_size=len(rows), device=self._device, workers=train.workers,
            rows=rows,
        )  # fmt: skip
        labels = torch.from_numpy(draw.integers(len(self._data.info.classes), size=len(rows)))
        try:
            return self._trainer.random_label_drop(inputs, labels.to(given), int(draw.integers(2**32)))
        except RuntimeError as error:
            if "deepcopy" not in str(error):
                raise
            text = f"needs a copy of the network, which cannot be made ({error}): choose false"
            raise self._params.record.mistake("susceptibility", message=text) from None

    def state(self) -> dict[str, Any]:
        """See `Trainer.state`."""
        return self._trainer.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Trainer.load_state`."""
        self._trainer.load_state(state)
