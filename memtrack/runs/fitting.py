"""The training of a network on a variant, one epoch at a time: everything that its weights depend on.

The fingerprint of a training holds a hash of this module and of all modules that it imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from memtrack.config.params import Params
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.trainer import Trainer, accuracy
from memtrack.data.batches import Batches, variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.networks import network

TEST_BATCH = 512


@dataclass(frozen=True)
class FittedEpoch:
    """Mean loss and accuracy during an epoch, the accuracy on the test split after it, and the learning rate
    at its start."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float
    learning_rate: float


class Fitting:
    """The network of section `train`, and its training.

    Attributes:
        model: the network, on the device.

    Raises:
        InputError: if a batch has fewer samples than `world` has processes.
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
        torch.manual_seed(train.seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # this debugging aid takes time
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.model = network(train.model, data.info).to(device)
        self._seed = train.seed
        self._world = world
        self._fit = variant_batches(
            data, variant, batch_size=train.batch_size, device=device, workers=train.workers,
            part=world.of_each,
        )  # fmt: skip
        fewest = min(self._fit.counts())
        if fewest < world.size:
            text = (
                f"{world.size} processes cannot share a batch of {fewest} samples, which each epoch has: "
                "choose fewer, or another train.batch_size"
            )
            raise params.compute.mistake("processes", message=text)
        held = data.split("test")
        self._test = Batches(
            data, held["image"].tolist(), data.codes(held["label"]),
            batch_size=TEST_BATCH, device=device, workers=train.workers, change=variant.test_pixels,
            part=world.some_of,
        )  # fmt: skip
        self._trainer = Trainer(
            self.model,
            optimizer=train.optimizer.model_dump(),
            schedule=train.schedule.model_dump(),
            augment=Augmentation(train.augment.crop, train.augment.flip),
            epochs=train.epochs,
            steps=len(self._fit),
            seed=train.seed,
            world=world,
            replicated=world.replicated(self.model, data.info.shape),
        )

    def run_epoch(self, epoch: int) -> FittedEpoch:
        """Train for one epoch.

        Raises:
            FloatingPointError: if the loss is no longer finite.
        """
        rate = self._trainer.learning_rate
        batches = self._fit.shuffled(seed=self._seed, epoch=epoch)
        result = self._trainer.run_epoch(epoch, batches, self._fit.counts())
        correct = accuracy(self.model, self._test, self._world)
        return FittedEpoch(result.loss, result.accuracy, correct, rate)

    def state(self) -> dict[str, Any]:
        """See `Trainer.state`."""
        return self._trainer.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Trainer.load_state`."""
        self._trainer.load_state(state)
