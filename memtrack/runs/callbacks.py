"""The hooks of a training."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class Callback:
    """Is told of the steps of a training; every method does nothing unless it is overridden.

    An exception ends the training as any error does: what is done by then is kept, and the next run goes on
    from there. The hooks of an epoch are called whether it is done now or was done before, except
    `on_epoch_trained` and `on_epoch_recorded`.
    """

    def on_train_start(self) -> None:
        """Before the first epoch."""

    def on_epoch_start(self, epoch: int) -> None:
        """Before an epoch, which counts from 1."""

    def on_epoch_trained(self, epoch: int) -> None:
        """After an epoch was trained and its checkpoint and state were written."""

    def on_epoch_recorded(self, epoch: int) -> None:
        """After the numbers of every sample were recorded and written."""

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """After an epoch, with its numbers: losses, accuracies, learning rate, curvature where recorded."""

    def on_train_end(self, model: nn.Module) -> None:
        """After the last epoch, with the network of that epoch; the results are not published yet."""
