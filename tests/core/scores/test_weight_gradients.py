"""The norms of the gradients in the weights, against autograd's gradient of one sample after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, SHAPE, made
from cases import CLASSES
from recorded_networks import InMemoryNetworks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.scores import Need, compute, weight_gradients
from memtrack.core.scores.weight_gradients import squared_gradient_norms


def brute_force(network: nn.Module, inputs: Tensor, labels: Tensor) -> list[float]:
    network.eval()
    trained = [own for own in network.parameters() if own.requires_grad]
    found = []
    for sample, label in zip(inputs, labels, strict=True):
        network.zero_grad()
        cross_entropy(network(sample[None]), label[None]).backward()
        found.append(sum(float((own.grad**2).sum()) for own in trained if own.grad is not None))
    return found


def samples(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, *SHAPE, generator=draw, dtype=dtype), torch.arange(count) % CLASSES


class Conditional(nn.Module):
    """Its path depends on the data, which torch.func cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Linear(768, CLASSES) for _ in range(2))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return self.first(flat) if flat[:, 0].mean() > 0 else self.second(flat)


def frozen() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(576, CLASSES))
    network[0].requires_grad_(False)
    return network.double()


NETWORKS = {
    **{name: lambda name=name: made(name) for name in ARCHITECTURES},
    "data-dependent": lambda: Conditional().double(),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES)).double()),
    "frozen layers": frozen,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_of_each_sample(name: str) -> None:
    network, (inputs, labels) = NETWORKS[name](), samples(6)
    found = squared_gradient_norms(network.train(), [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])])
    assert all(module.training for module in network.modules())
    assert found.tolist() == pytest.approx(brute_force(network, inputs, labels), rel=1e-8)


@pytest.mark.parametrize("name", ["EfficientNet", "norms and dropouts", "frozen layers"])
def test_are_computed_together_where_torch_func_can(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(weight_gradients, "_one_by_one")
    squared_gradient_norms(NETWORKS[name](), [samples(3)])


def test_flags_and_batch_norms_are_as_before() -> None:
    network = frozen().train()
    state = {name: own.clone() for name, own in network.state_dict().items()}
    squared_gradient_norms(network, [samples(5)])
    assert [own.requires_grad for own in network.parameters()] == [False] * 2 + [True] * 4
    assert all(own.grad is None for own in network.parameters())
    assert all(torch.equal(own, state[name]) for name, own in network.state_dict().items())


@pytest.mark.parametrize(("bound", "value"), [("BYTES", 1), ("LARGE", 0)])
def test_how_many_are_measured_at_a_time_changes_nothing(
    bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, (inputs, labels) = made("EfficientNet").float(), samples(9, torch.float32)
    expected = squared_gradient_norms(network, [(inputs, labels)])
    monkeypatch.setattr(weight_gradients, bound, value)
    found = squared_gradient_norms(network, [(inputs, labels)])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("count", "early"), [(1, 1), (4, 1), (5, 2), (8, 2)])
@pytest.mark.parametrize("size", [3, 20])
def test_grand_is_the_mean_norm_over_the_first_quarter(count: int, early: int, size: int) -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES)) for _ in range(count)]
    inputs, labels = samples(8, torch.float32)
    found = compute("grand", {Need.NETWORKS: InMemoryNetworks(networks, inputs, labels, size)})
    norms = [np.sqrt(brute_force(network, inputs, labels)) for network in networks[:early]]
    np.testing.assert_allclose(found, np.mean(norms, axis=0), rtol=1e-5)
