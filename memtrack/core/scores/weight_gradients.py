"""The gradient of each sample's loss with respect to the weights of a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # importing torch takes seconds, and checking a score's name does not need it
    from torch import Tensor, nn

    Weights = Mapping[str, Tensor]
    Measure = Callable[[Tensor, Tensor], Tensor]
    Reduction = Callable[[Sequence[Tensor]], Tensor]

BYTES = 2**30
"""The memory for the gradients and activations of the samples that are measured at a time."""
LARGE = 2**22
"""On a CPU, samples that need more than this for both are faster one by one."""


def squared_gradient_norms(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> NDArray[np.float64]:
    """The squared norm of each sample's gradient, (N,); see `of_each_gradient`."""
    import torch

    def squared(gradients: Sequence[Tensor]) -> Tensor:
        return torch.stack([own.square().sum() for own in gradients]).sum()

    return of_each_gradient(model, batches, squared)


def of_each_gradient(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], reduce: Reduction
) -> NDArray[np.float64]:
    """`reduce` of the gradient of each sample's cross-entropy loss in all trained weights, (N, ...).

    The network is in eval mode, so that batch norms use their running statistics: with the statistics of a
    batch, a sample's gradient would depend on the other samples. Weights that training froze do not count.

    torch.func computes the gradients of several samples at a time. It cannot do this for networks whose
    control flow depends on the data (an `if` or `.item()` on a tensor), that write into tensors of their
    own, or that are scripted. The samples of such a network are measured one by one, and those of a large
    network on a CPU, too, where this is faster. For the smallest networks it takes ten times as long.

    Args:
        batches: (normalized inputs (B, ...), given labels int64 (B,)), on the device of the network.
        reduce: a function of one sample's gradients, in the order of `trained_weights`.
    """

    from memtrack.core.recording.eval_mode import check_labels, differentiating

    parts, measure = [], None
    with trained_weights(model) as weights, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # torch loops over some operations
        for inputs, labels in batches:
            check_labels(inputs, labels)
            with differentiating(inputs):
                if measure is None:
                    measure = _measure(model, weights, reduce, inputs[:2], labels[:2])
                parts.append(measure(inputs, labels).detach().double().cpu().numpy())
    return np.concatenate(parts)


@contextmanager
def trained_weights(model: nn.Module) -> Iterator[Weights]:
    """The trained weights of `model` by name. Within it, the model is in eval mode; see `frozen_eval`."""
    from memtrack.core.recording.eval_mode import frozen_eval

    trained = {name: own for name, own in model.named_parameters() if own.requires_grad}
    with frozen_eval(model):
        for own in trained.values():
            own.requires_grad_(True)
        yield trained


def bytes_each(model: nn.Module, weights: Weights, inputs: Tensor) -> int:
    """The memory for the gradients and activations of one of `inputs` (B, ...)."""
    from torch.autograd.graph import saved_tensors_hooks

    kept = [own.nbytes for own in weights.values()]

    def keep(tensor: Tensor) -> Tensor:
        if not tensor.is_leaf:  # the weights themselves are no activations
            kept.append(tensor.nbytes)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs[:1])
    return sum(kept)


def _measure(
    model: nn.Module, weights: Weights, reduce: Reduction, inputs: Tensor, labels: Tensor
) -> Measure:
    """The faster of the two that can handle the network. It is tried on these samples."""
    import torch

    each = bytes_each(model, weights, inputs)
    if inputs.device.type == "cpu" and each > LARGE:
        return _one_by_one(model, weights, reduce)
    measure = _together(model, weights, reduce, max(1, BYTES // each))
    try:
        measure(inputs, labels)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError):  # torch.func cannot handle the network
        return _one_by_one(model, weights, reduce)
    return measure


def _together(model: nn.Module, weights: Weights, reduce: Reduction, at_once: int) -> Measure:
    """Measures several samples at a time."""
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    detached = {name: own.detach() for name, own in weights.items()}

    def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, weights, (sample[None],)), label[None])

    def measure(sample: Tensor, label: Tensor) -> Tensor:
        return reduce(list(grad(loss)(detached, sample, label).values()))

    return vmap(measure, chunk_size=at_once)


def _one_by_one(model: nn.Module, weights: Weights, reduce: Reduction) -> Measure:
    """Measures one sample after the other."""
    import torch
    from torch.nn.functional import cross_entropy

    def measure(inputs: Tensor, labels: Tensor) -> Tensor:
        found = []
        for sample, label in zip(inputs, labels, strict=True):
            loss = cross_entropy(model(sample[None]), label[None])
            found.append(reduce(torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)))
        return torch.stack(found)

    return measure
