"""Critical samples: those whose predicted class changes within a small box around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores.registry import Need, RecordedNetworks, Values, score

if TYPE_CHECKING:  # importing torch takes seconds, and checking a score's name does not need it
    from torch import Tensor, nn

RADII = tuple(0.0125 * 2 ** (step / 2) for step in range(11))
"""Half the sides of the boxes, in units of the normalized input: 0.0125 to 0.4."""
STEPS = 3
"""The steps of the search in each box. Each step is half as long as the box's radius, along every entry."""
NETWORKS = 4
"""The number of networks that are searched."""


@score(
    needs=(Need.NETWORKS,),
    cost=f"up to {len(RADII) * STEPS * NETWORKS} gradients in the input per sample",
    by_default=False,
)
def critical_sample_ratio(networks: RecordedNetworks) -> Values:
    """The share of boxes x + [-r, r]^d in which a search finds another predicted class than at x, over the
    `RADII` r and `NETWORKS` recorded epochs, evenly spaced up to the last one.

    The paper asks for one r whether a sample is critical, and reports the share of such samples. Over several
    boxes and networks the answer becomes a number for each sample. The search takes steps along the sign of
    the gradient of (the largest logit of another class - the logit of the predicted class), as in the paper's
    algorithm 1, but without its noise, so that the same steps are taken in every batch. Given labels are not
    used.

    Source: Arpit et al., ICML 2017, section 4 and algorithm 1.
    """
    chosen = np.linspace(0, len(networks.epochs), NETWORKS + 1)[1:].round().astype(int) - 1
    epochs = [networks.epochs[number] for number in np.unique(chosen.clip(0))]
    rows = np.arange(len(networks.labels))
    total = np.zeros(len(rows))
    for model in networks.models(epochs):
        total += critical_boxes(model, networks.batches(rows), RADII)
    return total / (len(RADII) * len(epochs))


def critical_boxes(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], radii: Sequence[float]
) -> NDArray[np.int64]:
    """In how many boxes around each sample the search finds another predicted class, (N,).

    A class that was found in a box is in every larger one. So the search goes from the smallest box to the
    largest, and continues where it was.

    Args:
        batches: (normalized inputs (B, ...), anything), on the device of the network.
        radii: half the sides of the boxes, ascending.
    """
    from memtrack.core.recording.eval_mode import frozen_eval

    with frozen_eval(model):
        found = [_critical_boxes(model, inputs, radii).cpu().numpy() for inputs, _ in batches]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _critical_boxes(model: nn.Module, inputs: Tensor, radii: Sequence[float]) -> Tensor:
    import torch

    with torch.no_grad():
        predicted = model(inputs).argmax(1)
    count = torch.zeros_like(predicted)
    rows, points = torch.arange(len(inputs), device=inputs.device), inputs
    for number, radius in enumerate(radii):
        for _ in range(STEPS):
            if not len(rows):
                return count
            ahead = _gradient(model, points, predicted[rows]).sign() * (radius / 2)
            points = (points + ahead).clamp(inputs[rows] - radius, inputs[rows] + radius)
            with torch.no_grad():
                same = model(points).argmax(1) == predicted[rows]
            count[rows[~same]] = len(radii) - number
            rows, points = rows[same], points[same]
    return count


def _gradient(model: nn.Module, points: Tensor, predicted: Tensor) -> Tensor:
    """The gradient of (the largest logit of another class - the logit of the predicted class)."""
    import torch

    from memtrack.core.recording.eval_mode import differentiating

    with differentiating(points):
        leaf = points.detach().requires_grad_(True)
        logits = model(leaf)
        own = logits.gather(1, predicted[:, None])
        others = logits.scatter(1, predicted[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((others - own[:, 0]).sum(), leaf)
    return gradient
