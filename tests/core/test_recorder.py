"""The recorded quantities, against a loop over single samples."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from cases import IMAGE, image_network, in_batches, sample_gradient, samples
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.curvature import FiniteDifference, rademacher_probe
from memtrack.core.recorder import QUANTITIES, record_epoch

COUNT = 17
EPOCH = 4
SCALE = 0.05


Record = dict[str, NDArray[Any]]


@cache
def by_hand() -> dict[str, list[float]]:
    """Every quantity of every sample, one sample at a time and in float64."""
    network = image_network().eval()
    directions = [rademacher_probe(IMAGE, seed=8, epoch=EPOCH, probe=number) for number in (0, 1)]
    found: dict[str, list[float]] = {}
    for sample, label in zip(*samples(COUNT, IMAGE), strict=True):
        with torch.no_grad():
            logits = network(sample[None])[0].numpy()
        own, others = logits[label], np.delete(logits, label)
        gradient = sample_gradient(network, sample, label).numpy()
        bends = [
            sample_gradient(network, sample + SCALE * direction.double(), label).numpy() - gradient
            for direction in directions
        ]
        values = {
            "loss": -np.log(np.exp(own) / np.exp(logits).sum()),
            "probability": np.exp(own) / np.exp(logits).sum(),
            "margin": own - others.max(),
            "correct": float(own > others.max()),
            "predicted": logits.tolist().index(max(logits)),
            "gradient_norm": np.sqrt((gradient**2).sum()),
            "curvature": np.mean([np.sqrt((bend**2).sum()) / SCALE for bend in bends]),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return found


@cache
def recorded(size: int) -> Record:
    """The record of the same samples, measured in batches of `size`."""
    return record(image_network(), size)


def record(network: nn.Module, size: int) -> Record:
    estimator = FiniteDifference(SCALE, probes=2, seed=8)
    return record_epoch(network, in_batches(*samples(COUNT, IMAGE), size), estimator, epoch=EPOCH)


@pytest.mark.parametrize("size", [1, 5, COUNT], ids=lambda size: f"batches of {size}")
@pytest.mark.parametrize("quantity", list(QUANTITIES))
def test_by_brute_force_however_the_batches_are_cut(quantity: str, size: int) -> None:
    expected = by_hand()[quantity]
    assert len(set(expected)) > 1
    np.testing.assert_allclose(recorded(size)[quantity], expected, rtol=1e-5, atol=1e-7)


def test_types_and_shapes() -> None:
    found = recorded(5)
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        "loss": (np.float32, (COUNT,)),
        "probability": (np.float32, (COUNT,)),
        "margin": (np.float32, (COUNT,)),
        "correct": (np.float32, (COUNT,)),
        "predicted": (np.int32, (COUNT,)),
        "gradient_norm": (np.float32, (COUNT,)),
        "curvature": (np.float32, (COUNT,)),
    }


def test_probes_change_with_the_epoch() -> None:
    inputs, labels = samples(COUNT, IMAGE)
    estimator = FiniteDifference(SCALE)
    one, other = (
        record_epoch(image_network(), [(inputs, labels)], estimator, epoch=epoch) for epoch in (1, 2)
    )
    assert not np.allclose(one["curvature"], other["curvature"], rtol=1e-3)
    np.testing.assert_array_equal(one["gradient_norm"], other["gradient_norm"])


def test_large_logits_do_not_overflow() -> None:
    network = nn.Linear(1, 2, bias=False)
    network.weight.data = torch.tensor([[1000.0], [0.0]])
    inputs, labels = torch.ones(2, 1), torch.tensor([0, 1])
    found = record_epoch(network, [(inputs, labels)], FiniteDifference(0.1), epoch=1)
    assert found["loss"].tolist() == [0.0, 1000.0]
    assert found["probability"].tolist() == [1.0, 0.0]
    assert found["margin"].tolist() == [1000.0, -1000.0]


class Scaled(nn.Module):
    """Logits (0, factor x): finite, with whatever gradient the factor makes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(inputs), inputs * self.factor], dim=1)


@pytest.mark.parametrize(
    ("factor", "first"),
    [(float("nan"), "loss"), (float("inf"), "loss"), (2e38, "curvature")],
)
def test_numbers_that_are_not_finite_are_refused(factor: float, first: str) -> None:
    network = Scaled(factor)
    inputs, labels = torch.zeros(3, 1), torch.tensor([0, 1, 0])
    with pytest.raises(FloatingPointError, match=rf"epoch 12: {first} is not finite for 3 samples"):
        record_epoch(network, [(inputs, labels)], FiniteDifference(0.1), epoch=12)
    assert network.training
    assert network.factor.requires_grad


def test_leaves_the_model_as_found() -> None:
    network = image_network()
    network[1].eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    record(network, size=5)
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
