"""Critical samples, against the closed form for linear networks and brute force over a grid in the plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recorded_networks import InMemoryNetworks
from torch import Tensor, nn

from memtrack.core.scores import Need, compute
from memtrack.core.scores.critical_sample_ratio import RADII, critical_boxes

SPREAD = (0.05, 0.1, 0.2, 0.4, 0.8)


def by_grid(network: nn.Module, inputs: Tensor, radii: tuple[float, ...]) -> np.ndarray:
    """In how many boxes some point of a grid of 41 x 41 has another predicted class."""
    axis = torch.linspace(-1, 1, 41)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        found = [
            (network(inputs[:, None] + radius * grid).argmax(2) != network(inputs).argmax(1)[:, None]).any(1)
            for radius in radii
        ]
    return torch.stack(found).sum(0).numpy()


def plane(seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network with curved borders between its classes, and samples."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for own in network.parameters():
            own *= 2
    return network, torch.randn(300, 2)


@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_a_search_of_the_whole_box(seed: int) -> None:
    network, inputs = plane(seed)[0], plane(seed)[1][:150]
    found = critical_boxes(network, [(inputs, inputs)], SPREAD)
    expected = by_grid(network, inputs, SPREAD)
    assert 0.2 < (expected > 0).mean() < 1  # the boxes are neither all too small nor all too large
    assert (found == expected).mean() > 0.9
    assert (found - expected).max() <= 1  # where the grid is too coarse, the search may find more


def test_is_exact_for_two_classes_and_a_linear_network() -> None:
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.randn(200, 3, 2, 2)
    weight = (network[1].weight[1] - network[1].weight[0]).detach()
    with torch.no_grad():
        logits = network(inputs)
    nearest = ((logits[:, 1] - logits[:, 0]).abs() / weight.abs().sum()).numpy()  # the radius of the border
    expected = (nearest[:, None] < np.array(SPREAD)).sum(1)
    assert len(set(expected)) == len(SPREAD) + 1
    assert critical_boxes(network, [(inputs, inputs)], SPREAD).tolist() == expected.tolist()


@pytest.mark.parametrize("size", [25, 1000])
def test_is_the_share_over_boxes_and_networks(size: int) -> None:
    networks, inputs = [plane(seed)[0] for seed in range(6)], plane()[1][:40]
    inputs[0] = 1e6  # far from all borders
    found = compute(
        "critical_sample_ratio",
        {Need.NETWORKS: InMemoryNetworks(networks, inputs, torch.zeros(40, dtype=torch.int64), size)},
    )
    boxes = [critical_boxes(networks[number], [(inputs, inputs)], RADII) for number in (1, 2, 3, 5)]
    assert found.tolist() == pytest.approx((np.mean(boxes, axis=0) / len(RADII)).tolist())
    assert found[0] == 0


@pytest.mark.parametrize("count", [1, 3])
def test_of_few_networks_all_are_searched(count: int) -> None:
    networks, inputs = [plane(seed)[0] for seed in range(count)], plane()[1][:40]
    evidence = {Need.NETWORKS: InMemoryNetworks(networks, inputs, torch.zeros(40, dtype=torch.int64))}
    boxes = [critical_boxes(network, [(inputs, inputs)], RADII) for network in networks]
    expected = np.mean(boxes, axis=0) / len(RADII)
    assert compute("critical_sample_ratio", evidence).tolist() == pytest.approx(expected.tolist())
