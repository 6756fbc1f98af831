"""A callback of Lightning that records a training."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from memtrack.integrations.recorder import Recorder

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(f"{error}: pip install 'memtrack[lightning]'") from error


class MemtrackCallback(Callback):  # type: ignore[misc]
    """Records every epoch at its end; with several processes the first one does. A `fast_dev_run` is not
    recorded.

    Args:
        recorder: keeps the numbers. Its samples are those of the training, without augmentation.
        network: takes out of the LightningModule what maps inputs to logits; None: the module itself, whose
            `forward` does it.

    Examples:
        >>> Trainer(callbacks=[MemtrackCallback(Recorder(samples, "recorded"))]).fit(module, loader)
    """

    def __init__(
        self, recorder: Recorder, network: Callable[[LightningModule], nn.Module] | None = None
    ) -> None:
        self.recorder, self._network = recorder, network

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch; raises what `Recorder.after_epoch` does."""
        if trainer.fast_dev_run:
            return
        network = pl_module if self._network is None else self._network(pl_module)
        self.recorder.after_epoch(network, trainer.current_epoch + 1)
