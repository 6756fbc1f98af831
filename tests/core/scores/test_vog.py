"""Variance of gradients, against the definition with every gradient in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from recorded_networks import InMemoryNetworks
from torch import Tensor, nn

from memtrack.core.scores import Need, compute, vog
from memtrack.core.scores.vog import standardized, variance_of_gradients


@pytest.fixture
def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3))
        for _ in range(4)
    ]


def brute_force(networks: list[nn.Module], inputs: Tensor, labels: Tensor) -> list[float]:
    found = []
    for sample, label in zip(inputs, labels, strict=True):
        gradients = []
        for network in copy.deepcopy(networks):
            leaf = sample[None].double().requires_grad_()
            network.double().eval()(leaf)[0, label].backward()
            gradients.append(leaf.grad)
        found.append(float(torch.stack(gradients).var(dim=0, correction=0).mean()))
    return found


@pytest.mark.parametrize("cuts", [[20], [7, 7, 6], [1] * 20])
def test_is_its_definition(networks: list[nn.Module], cuts: list[int]) -> None:
    inputs, labels = torch.randn(20, 2, 5, 5), torch.arange(20) % 3
    batches = list(zip(inputs.split(cuts), labels.split(cuts), strict=True))
    found = variance_of_gradients(lambda: networks, batches)
    assert found.tolist() == pytest.approx(brute_force(networks, inputs, labels), rel=1e-4)
    assert all(network.training for network in networks)


def test_one_network_has_no_variance(networks: list[nn.Module]) -> None:
    batch = torch.randn(3, 2, 5, 5), torch.arange(3)
    assert variance_of_gradients(lambda: networks[:1], [batch]).tolist() == [0, 0, 0]


def test_networks_are_asked_for_one_after_the_other(networks: list[nn.Module]) -> None:
    """So that one network that loads each checkpoint in turn is enough."""
    one = copy.deepcopy(networks[0])

    def loaded() -> Iterator[nn.Module]:
        for network in networks:
            one.load_state_dict(network.state_dict())
            yield one

    batch = torch.randn(5, 2, 5, 5), torch.arange(5) % 3
    found = variance_of_gradients(loaded, [batch])
    assert found.tolist() == variance_of_gradients(lambda: networks, [batch]).tolist()


def test_labels_of_the_wrong_kind() -> None:
    with pytest.raises(ValueError, match="int64"):
        variance_of_gradients(list, [(torch.zeros(3, 2), torch.zeros(3))])


def test_standardized_within_each_class() -> None:
    values = np.array([1.0, 3.0, 10.0, 10.0, 5.0], dtype=np.float32)
    assert standardized(values, np.array([0, 0, 1, 1, 2])).tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("moments", [1, 7 * 50, 2**27], ids=["one sample", "seven", "all"])
def test_the_score_does_not_depend_on_how_many_samples_are_measured_at_a_time(
    networks: list[nn.Module], moments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, labels = torch.randn(20, 2, 5, 5), torch.arange(20) % 3
    monkeypatch.setattr(vog, "MOMENTS", moments)
    found = compute("vog", {Need.NETWORKS: InMemoryNetworks(networks, inputs, labels)})
    brute = np.array(brute_force(networks, inputs, labels), dtype=np.float32)
    np.testing.assert_allclose(found, standardized(brute, labels.numpy()), rtol=1e-3, atol=1e-4)
