"""The average of a network's weights while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of weights and buffers over the steps of a training.

    After step t it is the mean of what the steps 1 to t left, step s weighted by decay^(t - s). Unlike
    torch's `AveragedModel` it does not give the first step more weight than that (the correction is that of
    Adam; Kingma & Ba, ICLR 2015), so it is of use from the first epoch on, and it never waits for a GPU.
    Whole numbers, such as the count of a batch norm, are those of the last step.

    Attributes:
        model: the averaged network.

    Source: Polyak & Juditsky, SIAM J. Control Optim. 30(4), 1992; Tarvainen & Valpola, NeurIPS 2017.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model)
        self._followed, self._decay, self._steps = model, decay, 0

    @torch.no_grad()
    def update(self, *_: object) -> None:
        """Take the weights after a step into the average; the arguments are those of an optimizer's hook."""
        self._steps += 1
        new = (1 - self._decay) / (1 - self._decay**self._steps)
        averages, weights = _tensors(self.model), _tensors(self._followed)
        numbers = [place for place, average in enumerate(averages) if average.is_floating_point()]
        torch._foreach_lerp_([averages[i] for i in numbers], [weights[i] for i in numbers], new)
        for average, tensor in zip(averages, weights, strict=True):
            if not average.is_floating_point():
                average.copy_(tensor)

    def state_dict(self) -> dict[str, Any]:
        """The averaged network and the number of steps."""
        return {"model": self.model.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.model.load_state_dict(state["model"])
        self._steps = state["steps"]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
