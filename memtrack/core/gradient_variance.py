"""Variance of gradients over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.measuring import check_labels, differentiating, measuring

Batch = tuple[Tensor, Tensor]


def variance_of_gradients(models: Callable[[], Iterable[nn.Module]], batches: Iterable[Batch]) -> Tensor:
    """The variance over networks of the gradient of the given label's logit, the mean over pixels, (N,).

    The running moments of all `batches` are in memory at once (twice the size of their inputs).

    Args:
        models: gives the networks after each epoch, one after the other.
        batches: (normalized inputs (B, ...), given labels int64 (B,)), on the device of the networks.

    Returns:
        float32 (N,), on the CPU; divided by the number of networks (population variance).

    Source: Agarwal, D'souza & Hooker, CVPR 2022, section 2, before their normalization per class;
    the running moments: Welford, Technometrics 1962.
    """
    kept = list(batches)
    for inputs, labels in kept:
        check_labels(inputs, labels)
    means = [torch.zeros_like(inputs) for inputs, _ in kept]
    squares = [torch.zeros_like(inputs) for inputs, _ in kept]
    count = 0
    for model in models():
        count += 1
        with measuring(model):
            for (inputs, labels), mean, square in zip(kept, means, squares, strict=True):
                with differentiating(inputs):
                    leaf = inputs.detach().requires_grad_(True)
                    own = model(leaf).gather(1, labels[:, None]).sum()
                    (gradient,) = torch.autograd.grad(own, leaf)
                off = gradient - mean
                mean += off / count
                square += off * (gradient - mean)
    return torch.cat([(square / count).flatten(1).mean(dim=1).cpu() for square in squares])


def standardized(
    values: NDArray[np.float32], classes: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float32]:
    """`values` (N,) minus the mean of the sample's class, over the class's standard deviation.

    Where all of a class are equal they become 0.
    """
    classes, found = np.asarray(classes), np.zeros(len(values))
    for number in np.unique(classes):
        members = classes == number
        own = values[members].astype(np.float64)
        found[members] = (own - own.mean()) / (own.std() or 1.0)
    return found.astype(np.float32)
