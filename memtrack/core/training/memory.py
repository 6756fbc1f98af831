"""The memory that the training of a network needs at least."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weight_bytes(model: nn.Module, *, trained: bool = False) -> int:
    """The size of the parameters of a network, or of the `trained` ones. It may be on the device `meta`."""
    return sum(own.nbytes for own in model.parameters() if own.requires_grad or not trained)


def saved_bytes(model: nn.Module, inputs: Tensor) -> int:
    """What a forward pass in eval mode keeps for the backward pass, without the parameters.

    A training step needs this much memory at least: it keeps the same, and more for dropout, gradients and
    intermediate results.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model.eval()(inputs)  # `outputs` keeps the tensors alive, so that no address is used twice
    return sum(kept.values()) if outputs.requires_grad else 0
