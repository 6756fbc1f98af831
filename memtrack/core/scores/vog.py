"""VoG: the variance of gradients over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score

if TYPE_CHECKING:  # importing torch takes seconds, and checking a score's name does not need it
    from torch import Tensor, nn

MOMENTS = 2**27
"""How many input numbers have their moments in memory at once (512 MiB for each of the two moments)."""


@score(
    title="variance of gradients (VoG)",
    needs=(Need.NETWORKS,),
    cost="one gradient per recorded epoch and sample",
    by_default=False,
)
def vog(networks: RecordedNetworks) -> Values:
    """VoG: the variance over recorded epochs of d f_y / d x, averaged over pixels, standardized per class.

    Source: Agarwal, D'souza & Hooker, CVPR 2022, section 2 (they multiply by sqrt T, which gives the same
    ranking).
    """
    count, at_once = len(networks.labels), max(1, MOMENTS // int(np.prod(networks.shape)))
    groups = [np.arange(start, min(start + at_once, count)) for start in range(0, count, at_once)]
    parts = [variance_of_gradients(networks.models, networks.batches(rows)) for rows in groups]
    return standardized(np.concatenate(parts), networks.labels)


def variance_of_gradients(
    models: Callable[[], Iterable[nn.Module]], batches: Iterable[tuple[Tensor, Tensor]]
) -> NDArray[np.float32]:
    """The variance over networks of the gradient of the given label's logit, averaged over pixels, (N,).

    The running moments of all `batches` are in memory at once (twice the size of their inputs).

    Args:
        models: returns the networks after each epoch, one after the other.
        batches: (normalized inputs (B, ...), given labels int64 (B,)), on the device of the networks.

    Returns:
        float32 (N,), the population variance (its divisor is the number of networks).

    Source: Agarwal, D'souza & Hooker, CVPR 2022, section 2, before their normalization per class. The
    running moments are from Welford, Technometrics 1962.
    """
    import torch

    from memtrack.core.recording.eval_mode import check_labels, differentiating, frozen_eval

    kept = list(batches)
    for inputs, labels in kept:
        check_labels(inputs, labels)
    means = [torch.zeros_like(inputs) for inputs, _ in kept]
    squares = [torch.zeros_like(inputs) for inputs, _ in kept]
    count = 0
    for model in models():
        count += 1
        with frozen_eval(model):
            for (inputs, labels), mean, square in zip(kept, means, squares, strict=True):
                with differentiating(inputs):
                    leaf = inputs.detach().requires_grad_(True)
                    own = model(leaf).gather(1, labels[:, None]).sum()
                    (gradient,) = torch.autograd.grad(own, leaf)
                off = gradient - mean
                mean += off / count
                square += off * (gradient - mean)
    return torch.cat([(square / count).flatten(1).mean(dim=1).cpu() for square in squares]).numpy()


def standardized(values: NDArray[np.float32], classes: NDArray[np.int64]) -> Values:
    """`values` (N,) minus the mean of the sample's class, divided by the class's standard deviation.

    If all values of a class are equal, they become 0.
    """
    found = np.zeros(len(values))
    for number in np.unique(classes):
        members = classes == number
        own = values[members].astype(np.float64)
        found[members] = (own - own.mean()) / (own.std() or 1.0)
    return found
