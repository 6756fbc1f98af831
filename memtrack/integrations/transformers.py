"""A callback of Hugging Face's Trainer that records a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from memtrack.integrations.recorder import Recorder, unwrapped

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(f"{error}: pip install 'memtrack[transformers]'") from error

Forward = Callable[[nn.Module, Tensor], Tensor]
PART = 1e-3
"""An epoch that is further from a whole number was stopped before its end."""


class MemtrackCallback(TrainerCallback):  # type: ignore[misc]
    """Records every epoch at its end; with several processes the first one does. An epoch that `max_steps`
    ends early is not recorded.

    Args:
        recorder: keeps the numbers. Its samples are those of the training, without augmentation:
            dictionaries with `pixel_values` and `labels`, or pairs of them.
        forward: the logits (B, classes) of a model for inputs (B, ...); None: what a model for the
            classification of images gives for `pixel_values`.

    Examples:
        >>> callback = MemtrackCallback(Recorder(samples, "recorded"))
        >>> Trainer(model, arguments, train_dataset=augmented, callbacks=[callback]).train()
    """

    def __init__(self, recorder: Recorder, forward: Forward | None = None) -> None:
        self.recorder, self._forward = recorder, forward or of_pixels

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **found: Any
    ) -> None:
        """Record the epoch; raises what `Recorder.after_epoch` does."""
        epoch = round(state.epoch)
        if abs(state.epoch - epoch) < PART:
            self.recorder.after_epoch(Logits(unwrapped(found["model"]), self._forward), epoch)


class Logits(nn.Module):
    """A model that gives its logits alone."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model, self._forward = model, forward

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits (B, classes)."""
        return self._forward(self.model, inputs)


def of_pixels(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits of a model for the classification of images."""
    logits: Tensor = model(pixel_values=inputs).logits
    return logits
