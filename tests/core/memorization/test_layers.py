"""Networks without a layer, and without small weights, against what is written out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memtrack.core.memorization.layers import layers, measure_statistics, pruned, pruned_away, rewound


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)
    )


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    sizes = (5, 7, 1)
    return [(torch.randn(size, 1, 4, 4, generator=draw), torch.zeros(size)) for size in sizes]


def test_layers_are_what_has_weights() -> None:
    assert layers(network(0)) == ["0", "1", "5"]


@pytest.mark.parametrize("layer", ["0", "1", "5"])
def test_one_layer_is_rewound_and_nothing_else(layer: str) -> None:
    trained, untrained = network(0), network(1)
    with torch.no_grad():
        trained[1].weight.mul_(3)
        trained[1].running_mean.add_(1)
    before = copy.deepcopy(trained.state_dict())
    found = rewound(trained, untrained, layer).state_dict()
    for name, values in before.items():
        own = name.startswith(f"{layer}.") and "running" not in name and "num_" not in name
        expected = untrained.state_dict()[name] if own else values
        assert torch.equal(found[name], expected), name
        assert torch.equal(trained.state_dict()[name], values)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_smallest_weights_of_all_layers_are_zero(share: float) -> None:
    whole = network(0)
    found = pruned(whole, share)
    pairs = [(whole[number].weight, found[number].weight) for number in (0, 5)]
    sizes = sorted(float(size) for weights, _ in pairs for size in weights.detach().abs().flatten())
    limit = sizes[round(share * len(sizes))]
    for weights, left in pairs:
        assert torch.equal(left, torch.where(weights.abs() < limit, 0, weights))
    for number, name in ((0, "bias"), (1, "weight"), (1, "running_var"), (5, "bias")):
        assert torch.equal(getattr(found[number], name), getattr(whole[number], name))
    assert found.state_dict().keys() == whole.state_dict().keys()


def test_statistics_are_the_mean_over_the_batches() -> None:
    model = network(0)
    seen = [model[0](inputs) for inputs, _ in batches() if len(inputs) > 1]
    found = measure_statistics(model, batches())
    means = torch.stack([part.mean((0, 2, 3)) for part in seen]).mean(0)
    variances = torch.stack([part.var((0, 2, 3)) for part in seen]).mean(0)
    torch.testing.assert_close(found[1].running_mean, means)
    torch.testing.assert_close(found[1].running_var, variances)
    assert not found[1].training
    assert found[1].momentum == 0.1


def test_from_which_share_on_a_sample_is_lost() -> None:
    shares = (0.2, 0.5, 0.9)
    every = [[bool(number >> bit & 1) for bit in range(4)] for number in range(16)]
    right = np.array(every).T
    expected = []
    for sample in every:
        lost = 1.0
        for share, known in zip((0.9, 0.5, 0.2, 0.0), sample[::-1], strict=True):
            if known:
                break
            lost = share
        expected.append(lost)
    assert pruned_away(right, shares).tolist() == expected


def test_networks_that_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="no linear and no convolution layer"):
        pruned(nn.Sequential(nn.Flatten()), 0.5)
    parametrized = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="no linear and no convolution layer"):
        pruned(parametrized, 0.5)
