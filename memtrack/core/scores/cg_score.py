"""CG-score: by how much one sample adds to the complexity of the data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score

if TYPE_CHECKING:  # importing torch takes seconds, and checking a score's name does not need it
    from torch import Tensor

DRAWS = 5
"""How often the samples of the other classes are drawn."""
BLOCK = 1000
"""The largest number of samples of one class in a matrix; it has twice as many rows."""
SIDE = 32
"""Larger images are averaged down to this side."""
RIDGE = 1e-6
"""What is added to the diagonal of H, whose own is 0.5. Without it, equal images would have no inverse."""


@score(
    title="complexity gap (CG-score)",
    needs=(Need.NETWORKS,),
    cost=f"no network; {DRAWS} inverses of matrices with up to {2 * BLOCK} rows for every {BLOCK} samples",
    by_default=False,
)
def cg_score(networks: RecordedNetworks) -> Values:
    """CG-score: by how much y' H^-1 y falls without the sample, which is ((H^-1 y)_i)^2 / (H^-1)_ii, with

        H_ij = x_i.x_j (pi - arccos(x_i.x_j)) / (2 pi).

    x are the normalized inputs, scaled to length 1. y is 1 for the samples of one class, and -1 for as many
    drawn samples of the others; the score is the mean over `DRAWS` draws. No network is measured. Classes of
    more than `BLOCK` samples are cut at random, anew in each draw.

    Source: Ki, Choi & Chung, ICLR 2023. H is the Gram matrix of a wide network with two layers (Arora et al.,
    ICML 2019). The blocks and the ridge are our own.
    """
    vectors = unit_vectors(networks.batches(np.arange(len(networks.labels))))
    total = np.zeros(len(vectors))
    for draw in range(DRAWS):
        for own, others in blocks(networks.labels, networks.ids, draw):
            signs = np.repeat([1.0, -1.0], [len(own), len(others)])
            total[own] += complexity_gaps(vectors[np.concatenate([own, others])], signs)[: len(own)]
    return total / DRAWS


def unit_vectors(batches: Iterable[tuple[Tensor, Tensor]]) -> NDArray[np.float32]:
    """The normalized inputs of all samples, (N, numbers), with length 1; large images are averaged down."""
    from torch.nn.functional import adaptive_avg_pool2d, normalize

    found = []
    for inputs, _ in batches:
        height, width = (min(side, SIDE) for side in inputs.shape[-2:])
        small = adaptive_avg_pool2d(inputs.float(), (height, width))
        found.append(normalize(small.flatten(1)).cpu().numpy())
    return np.concatenate(found)


def blocks(
    labels: NDArray[np.int64], ids: Sequence[str], draw: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows: at most `BLOCK` samples of one class, and as many of the others (or all of them).

    Every sample is once among the first. The draw depends on the ids and labels, not on their order.
    """
    by_id = np.argsort(np.asarray(ids))
    for number in np.unique(labels):
        generator = np.random.Generator(np.random.PCG64([draw, number]))
        members = generator.permutation(by_id[labels[by_id] == number])
        others = by_id[labels[by_id] != number]
        for own in np.array_split(members, -(-len(members) // BLOCK)):
            yield own, generator.permutation(others)[: len(own)]


def complexity_gaps(vectors: NDArray[np.floating], signs: Values) -> Values:
    """By how much y' H^-1 y falls without each sample, (n,). Unit vectors (n, d), and y = `signs` (n,)."""
    inverse = np.linalg.inv(gram(vectors))
    gaps: Values = (inverse @ signs) ** 2 / np.diag(inverse)
    return gaps


def gram(vectors: NDArray[np.floating]) -> Values:
    """The matrix H of unit vectors (n, d), with the ridge."""
    exact = vectors.astype(np.float64)
    cosines = np.clip(exact @ exact.T, -1, 1)
    found: Values = cosines * (np.pi - np.arccos(cosines)) / (2 * np.pi)
    np.fill_diagonal(found, 0.5 + RIDGE)  # also of inputs that are all zero, which have no length 1
    return found
