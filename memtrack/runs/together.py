"""The network of a training, in one process or in several that do the same."""

from __future__ import annotations

import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from memtrack.config.params import Params
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.quantities import SampleArrays
from memtrack.core.training.distributed import World
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import FittedEpoch, Fitting
from memtrack.runs.recording import Recording


class Together:
    """Trains and records a network in all processes of a training.

    The first process calls the methods, and at last `end`; the others `follow` it.

    Attributes:
        model: the network, on the device of this process.

    Args:
        batch_size_file, precision_file: where the first process keeps what it has measured; see `Recording`.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        device: torch.device,
        world: World,
        batch_size_file: Path | None = None,
        precision_file: Path | None = None,
    ) -> None:
        self._world, self._device = world, device
        self._fitting = Fitting(params, data, variant, device, world)
        self.model = self._fitting.model
        self._recording = Recording(
            params, data, variant, self.model, device, world, batch_size_file, precision_file
        )

    def run_epoch(self, epoch: int) -> FittedEpoch:
        """See `Fitting.run_epoch`."""
        self._tell("train", epoch)
        return self._fitting.run_epoch(epoch)

    def random_label_drop(self, epoch: int) -> float:
        """See `Fitting.random_label_drop`; the other processes wait."""
        return self._fitting.random_label_drop(epoch)

    @property
    def precision(self) -> Precision:
        """See `Recording.precision`."""
        return self._recording.precision

    def choose_precision(self, epoch: int) -> bool:
        """See `Recording.choose_precision`; the other processes wait."""
        return self._recording.choose_precision(epoch)

    def sweep(self, epoch: int) -> Generator[SampleArrays, None, None]:
        """See `Recording.sweep`."""
        self._tell("record", epoch)
        return self._recording.sweep(epoch)

    def state(self) -> dict[str, Any]:
        """See `Trainer.state`."""
        return self._fitting.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Trainer.load_state`."""
        self._fitting.load_state(state)
        self.share()

    def share(self) -> None:
        """Give the weights of this process, and the rest of its state, to the others."""
        if self._world.size > 1:
            self._tell("share")
            self._share()

    def end(self) -> None:
        """Let the other processes go."""
        self._tell("end")

    def follow(self) -> None:
        """Do what the first process does, until it ends."""
        while True:
            match self._tell(""):
                case "train", epoch:
                    self._fitting.run_epoch(epoch)
                case "record", epoch:
                    for _ in self._recording.sweep(epoch):
                        pass  # the numbers go to the first process
                case "share", _:
                    self._share()
                case _:
                    return

    def _tell(self, what: str, epoch: int = 0) -> tuple[str, int]:
        """What the first process tells the others to do."""
        return self._world.decided(lambda: (what, epoch))

    def _share(self) -> None:
        def saved() -> bytes:
            content = io.BytesIO()
            torch.save(self._fitting.state(), content)
            return content.getvalue()

        content = io.BytesIO(self._world.decided(saved))
        if not self._world.is_first:
            self._fitting.load_state(torch.load(content, map_location=self._device, weights_only=True))
