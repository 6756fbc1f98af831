"""What a training does with one batch: the network's outputs, the gradient, the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.losses import CrossEntropy, Loss


class Target(NamedTuple):
    """Labels (B,) of a batch, the numbers (B,) of the samples that they belong to, their weight in the loss,
    and the weight of each sample (B,); None: all are 1."""

    labels: Tensor
    rows: Tensor | None = None
    weight: float = 1.0
    weights: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Inputs (B, ...), and their labels; the weights of the targets add up to 1.

    Attributes:
        whole: the number of samples in the batch, with the parts of all processes.
        total: the sum of their weights; None: all weights are 1.
    """

    inputs: Tensor
    targets: tuple[Target, ...]
    whole: int
    total: float | None = None


class StepResult(NamedTuple):
    """The loss of a batch, as `Loss` gives it, and the number of correct predictions: tensors, for which
    nothing waits."""

    loss: Tensor
    correct: Tensor


class Step:
    """One step against the gradient of the loss.

    Args:
        network: called in training mode; with several processes it is `World.replicated`.
        loss: None: the cross entropy.
        world: the processes that share each batch.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, loss: Loss | None = None, world: World = ALONE
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.loss = CrossEntropy() if loss is None else loss
        self.world = world

    def __call__(self, batch: Batch) -> StepResult:
        """Change the weights once."""
        outputs = self._outputs(batch)
        self.loss.observe(outputs.detach(), max(batch.targets, key=lambda target: target.weight).rows)
        loss = self._backward(outputs, batch)
        self._before_step(batch)
        self.optimizer.step()
        logits = self.loss.logits(outputs.detach())
        correct = [(logits.argmax(1) == target.labels).sum() * target.weight for target in batch.targets]
        return StepResult(loss, sum(correct[1:], correct[0]))

    def _before_step(self, batch: Batch) -> None:
        """Change the gradient."""

    def _outputs(self, batch: Batch) -> Tensor:
        with self.world.whole_batch(batch.whole):
            outputs: Tensor = self.network(batch.inputs)
        return outputs

    def _backward(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Compute the gradient; returns the loss."""
        parts = [
            self.loss(outputs, target.labels, target.rows, target.weights) * target.weight
            for target in batch.targets
        ]
        loss: Tensor = sum(parts[1:], parts[0])
        self.optimizer.zero_grad(set_to_none=True)
        # with several processes the gradient is the mean over them, whatever their parts of the batch; with
        # weights it is that of the weighted mean over the whole batch
        size, share = self.world.size, len(batch.inputs)
        if batch.total is not None:
            torch.autograd.backward(loss * (share * size / batch.total if batch.total > 0 else 0.0))
        else:
            torch.autograd.backward(loss if size == 1 else loss * (share * size / batch.whole))
        return loss.detach()
