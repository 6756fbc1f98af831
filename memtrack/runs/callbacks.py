"""The hooks of a training."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class Callback:
    """Hooks that a training calls at each step; every method does nothing unless it is overridden.

    An exception ends the training like any other error: finished work is kept, and the next run continues
    from there. The hooks of an epoch are also called if an earlier run did the epoch, except
    `on_epoch_trained` and `on_epoch_recorded`.
    """

    def on_train_start(self) -> None:
        """Called before the first epoch."""

    def on_epoch_start(self, epoch: int) -> None:
        """Called before an epoch; epochs count from 1."""

    def on_epoch_trained(self, epoch: int) -> None:
        """Called after an epoch was trained and its checkpoint and state were written."""

    def on_epoch_recorded(self, epoch: int) -> None:
        """Called after the numbers of every sample were recorded and written."""

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Called after an epoch with its numbers: loss, accuracies, learning rate, and curvature if it was
        recorded."""

    def on_train_end(self, model: nn.Module) -> None:
        """Called after the last epoch with its network, before the results are published."""
