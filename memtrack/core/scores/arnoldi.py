"""Self-influence: how much a sample's loss would rise without the sample, by influence functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score
from memtrack.core.scores.weight_gradients import of_each_gradient, trained_weights

if TYPE_CHECKING:  # importing torch takes seconds, and checking a score's name does not need it
    from torch import Tensor, nn

STEPS = 40
"""The products with the Hessian, and the largest dimension of the space in which it is looked at."""
RANK = 20
"""The number of eigenvalues that are used."""
SAMPLES = 1000
"""The Hessian is that of so many samples, evenly spaced, or of all if there are fewer."""
SMALLEST = 1e-5
"""Eigenvalues below this share of the largest one are lost in rounding."""


@score(
    title="self-influence (Arnoldi)",
    needs=(Need.NETWORKS,),
    cost=f"{STEPS} products with the Hessian of {SAMPLES} samples, and one gradient per sample",
    by_default=False,
)
def arnoldi(networks: RecordedNetworks) -> Values:
    """Self-influence g' H^-1 g at the last recorded epoch. g is the gradient of the sample's loss in all
    trained weights, and H the Hessian of the mean loss of `SAMPLES` samples. To first order, a training
    without the sample ends with a loss of the sample that is higher by 1/N of this.

    H^-1 is taken in the space of the `RANK` largest eigenvalues that the Arnoldi iteration finds in `STEPS`
    steps; negative ones are left out. The memory is that of `STEPS` copies of the weights.

    Source: Koh & Liang, ICML 2017 (influence functions); Schioppa et al., AAAI 2022 (Arnoldi iteration).
    """
    rows = np.arange(len(networks.labels))
    some = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).round().astype(int))
    (model,) = networks.models(networks.epochs[-1:])
    return self_influence(model, list(networks.batches(some)), networks.batches(rows))


def self_influence(
    model: nn.Module,
    hessian_batches: Sequence[tuple[Tensor, Tensor]],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> Values:
    """g' H^-1 g of the samples in `batches`, (N,), with the Hessian of the mean loss in `hessian_batches`."""
    import torch

    with trained_weights(model) as weights:
        trained = list(weights.values())
        values, vectors = top_eigenpairs(_product(model, trained, hessian_batches), trained)
    root = torch.split(vectors / values.sqrt()[:, None], [own.numel() for own in trained], 1)

    def projected(gradients: Sequence[Tensor]) -> Tensor:
        parts = zip(root, gradients, strict=True)
        return torch.stack([part @ own.flatten() for part, own in parts]).sum(0)

    found: Values = (of_each_gradient(model, batches, projected) ** 2).sum(axis=1)
    return found


def top_eigenpairs(product: Callable[[Tensor], Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The largest positive eigenvalues (k,) and their eigenvectors (k, n) of a symmetric matrix, k <= `RANK`.

    The first vector is drawn from a fixed seed. Each new one is made orthogonal to all before it, twice:
    once is not enough in float32.

    Args:
        product: multiplies the matrix by a vector (n,). weights: tensors with n numbers in all.

    Raises:
        ValueError: if no eigenvalue is positive.
    """
    import torch

    size, like = sum(own.numel() for own in weights), weights[0]
    start = np.random.Generator(np.random.PCG64(0)).standard_normal(size)
    vector = torch.from_numpy(start).to(like)
    steps = min(STEPS, size)
    basis = torch.empty(steps, size, dtype=like.dtype, device=like.device)
    projected = torch.zeros(steps, steps, dtype=torch.float64)
    for step in range(steps):
        basis[step] = vector / vector.norm()
        known = basis[: step + 1]
        vector = product(basis[step])
        length = vector.norm()
        for _ in range(2):
            along = known @ vector
            vector = vector - along @ known
            projected[: step + 1, step] += along.double().cpu()
        if vector.norm() <= SMALLEST * length:  # the space is complete
            steps = step + 1
            break
    values, rotation = torch.linalg.eigh(projected[:steps, :steps], UPLO="U")
    chosen = [number for number in range(steps) if values[number] > SMALLEST * values[-1]][-RANK:]
    if not chosen:
        raise ValueError("the Hessian of the loss has no positive eigenvalue")
    return values[chosen].to(like), rotation[:, chosen].T.to(like) @ basis[:steps]


def _product(
    model: nn.Module, weights: Sequence[Tensor], batches: Sequence[tuple[Tensor, Tensor]]
) -> Callable[[Tensor], Tensor]:
    """A function that multiplies the Hessian of the mean loss by a vector of the weights."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import cross_entropy

    from memtrack.core.recording.eval_mode import differentiating

    count, sizes = sum(len(labels) for _, labels in batches), [own.numel() for own in weights]

    def product(vector: Tensor) -> Tensor:
        ahead = [part.view_as(own) for part, own in zip(torch.split(vector, sizes), weights, strict=True)]
        total = torch.zeros_like(vector)
        for inputs, labels in batches:
            # the fast kernels of attention have no second derivative
            with differentiating(inputs), sdpa_kernel(SDPBackend.MATH):
                loss = cross_entropy(model(inputs), labels, reduction="sum") / count
                gradients = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
                along = torch.stack(
                    [(own * part).sum() for own, part in zip(gradients, ahead, strict=True)]
                ).sum()
                found = torch.autograd.grad(along, weights, materialize_grads=True)
            total += torch.cat([own.flatten() for own in found])
        return total

    return product
