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

BYTES = 2**28
"""The memory for the gradients and activations of the samples that are measured at a time."""


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
    own, or that are scripted. The samples of such a network are measured one by one, which takes about
    ten times as long on a CPU.

    Args:
        batches: (normalized inputs (B, ...), given labels int64 (B,)), on the device of the network.
        reduce: a function of one sample's gradients, in the order of `trained_weights`.
    """
    import torch

    from memtrack.core.recording.eval_mode import check_labels, differentiating

    parts, measure = [], None
    with trained_weights(model) as weights, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # torch loops over some operations
        for inputs, labels in batches:
            check_labels(inputs, labels)
            with differentiating(inputs):
                if measure is None:
                    measure = _together(model, weights, reduce, inputs)
                    try:
                        measure(inputs[:2], labels[:2])
                    except torch.OutOfMemoryError:
                        raise
                    except (RuntimeError, ValueError, TypeError):  # torch.func cannot handle the network
                        measure = _one_by_one(model, weights, reduce)
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


def samples_at_once(model: nn.Module, weights: Weights, inputs: Tensor) -> int:
    """How many of `inputs` (B, ...) have their gradients and activations in `BYTES`, at least one."""
    from torch.autograd.graph import saved_tensors_hooks

    kept = [own.nbytes for own in weights.values()]

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs[:1])
    return max(1, BYTES // max(sum(kept), 1))


def _together(model: nn.Module, weights: Weights, reduce: Reduction, inputs: Tensor) -> Measure:
    """Measures several samples at a time."""
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    detached = {name: own.detach() for name, own in weights.items()}

    def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, weights, (sample[None],)), label[None])

    def measure(sample: Tensor, label: Tensor) -> Tensor:
        return reduce(list(grad(loss)(detached, sample, label).values()))

    return vmap(measure, chunk_size=samples_at_once(model, weights, inputs))


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
