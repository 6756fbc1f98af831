"""Networks that have lost a part of what they learned: a layer, or their small weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import prune

PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layers(model: nn.Module) -> list[str]:
    """The names of the layers: the modules that have weights of their own, in the order of the network."""
    return [
        name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))
    ]


def rewound(model: nn.Module, untrained: nn.Module, layer: str) -> nn.Module:
    """A copy of a trained network in which one layer has the weights from before the training.

    Source: Zhang, Bengio & Singer, "Are all layers created equal?", JMLR 2022.
    """
    changed = _copied(model)
    before = dict(untrained.get_submodule(layer).named_parameters(recurse=False))
    with torch.no_grad():
        for name, weights in changed.get_submodule(layer).named_parameters(recurse=False):
            weights.copy_(before[name])
    return changed


def pruned(model: nn.Module, share: float) -> nn.Module:
    """A copy of a network in which the smallest of all weights are zero.

    Args:
        share: of the weights of all linear and convolution layers together; biases and norms are kept.

    Raises:
        ValueError: if there are no such weights.

    Source: global magnitude pruning, torch.nn.utils.prune.
    """
    changed = _copied(model)
    weights = [
        (module, "weight")
        for module in changed.modules()
        if isinstance(module, PRUNED) and "weight" in dict(module.named_parameters(recurse=False))
    ]
    if not weights:
        raise ValueError("has no linear and no convolution layer with weights of its own")
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)  # type: ignore[no-untyped-call]
    return changed


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # such as of a weight that is computed from others
        raise ValueError(f"cannot be copied: {error}") from None


def measure_statistics(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> nn.Module:
    """Let the batch norms of a network measure mean and variance again, as a changed network needs it: the
    average over the batches. All else is in eval mode. Returns the network."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    model.eval()
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
    if norms:
        with torch.no_grad():
            for inputs, _ in batches:
                if len(inputs) > 1:
                    model(inputs)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return model.eval()


def pruned_away(right: NDArray[np.bool_], shares: Sequence[float]) -> NDArray[np.float64]:
    """The share of pruned weights from which on a network no longer gives a sample its label, (N,).

    Args:
        right: whether it gives the label, (shares + 1, N); the first row is the whole network.
        shares: ascending, each above 0.

    Returns:
        one of the shares; 0 if no network gives the label, and 1 if the last one does. A sample that only
        some of the pruned networks give its label counts up to the last of these.
    """
    wrong_at_the_end = np.flip(np.logical_and.accumulate(np.flip(~right, axis=0)), axis=0)
    first = np.where(wrong_at_the_end.any(axis=0), wrong_at_the_end.argmax(axis=0), len(shares) + 1)
    return np.array([0.0, *shares, 1.0])[first]
