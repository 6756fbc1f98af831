"""The step on random labels, against one that is worked out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.training.co_training import JoCoR, MeanOfTwo
from memtrack.core.training.optimizers import build_optimizer, build_schedule
from memtrack.core.training.susceptibility import random_label_drop

Floats = NDArray[np.float64]
RATE, MOMENTUM, DECAY = 0.3, 0.8, 0.01


def batch(seed: int, features: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(12, features, generator=draw, dtype=torch.float64)
    return inputs, torch.randint(3, (12,), generator=draw)


def softmax_loss(weights: Floats, inputs: Floats, labels: Floats) -> tuple[float, Floats]:
    """The mean cross entropy of a linear network without biases, and its gradient."""
    logits = inputs @ weights.T
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(shares[rows, labels]).mean()
    shares[rows, labels] -= 1
    return float(loss), shares.T @ inputs / len(labels)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_step_has_the_momentum_and_the_rate_of_the_training(nesterov: bool) -> None:
    model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    options = {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY, "nesterov": nesterov}
    optimizer = build_optimizer(model, "sgd", **options)
    schedule = build_schedule(optimizer, "step", epochs=4, steps=1, milestones=[2], factor=0.5)
    weights, velocity = model.weight.detach().numpy().copy(), np.zeros((3, 4))

    def step(gradient: Floats, rate: float) -> None:
        nonlocal weights, velocity
        gradient = gradient + DECAY * weights
        velocity = MOMENTUM * velocity + gradient
        weights = weights - rate * (gradient + MOMENTUM * velocity if nesterov else velocity)

    for number in (1, 2):
        inputs, labels = batch(number)
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        schedule.step()
        step(softmax_loss(weights, inputs.numpy(), labels.numpy())[1], RATE)
    inputs, labels = batch(3)
    before, gradient = softmax_loss(weights, inputs.numpy(), labels.numpy())
    step(gradient, RATE / 2)
    after, _ = softmax_loss(weights, inputs.numpy(), labels.numpy())
    found = random_label_drop(model, optimizer, inputs, labels, seed=0)
    assert found == pytest.approx(before - after, rel=1e-9)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_nothing_of_the_training_changes(kind: str) -> None:
    """And the same seed gives the same number."""
    torch.manual_seed(0)
    model = network().double()
    optimizer = build_optimizer(model, kind, lr=0.1)
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    cross_entropy(model(batch(1)[0]), batch(1)[1]).backward()
    optimizer.step()
    model.eval()
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()]))
    random = torch.get_rng_state()
    found = [random_label_drop(model, optimizer, *batch(2), seed=seed) for seed in (5, 5, 6)]
    torch.testing.assert_close(
        (model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()]),
        kept, rtol=0, atol=0,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), random)
    assert steps == [1]
    assert not model.training
    assert found[0] == found[1] != found[2]


def test_two_networks_are_measured_by_their_mean() -> None:
    torch.manual_seed(0)
    model = MeanOfTwo(nn.Linear(4, 3), nn.Linear(4, 3)).double()
    optimizer = build_optimizer(model, "sgd", lr=0.1, momentum=0.0)
    inputs, labels = batch(1)

    def entropy(network: nn.Module) -> Tensor:
        shares = (network.first(inputs).softmax(1) + network.second(inputs).softmax(1)) / 2
        return -shares.log()[range(12), labels].mean()

    by_hand = copy.deepcopy(model)
    before = entropy(by_hand)
    before.backward()
    with torch.no_grad():
        for weights in by_hand.parameters():
            weights -= 0.1 * weights.grad
        expected = float(before - entropy(by_hand))
    loss = JoCoR(weight=0.5, forget_rate=0.2, warmup=2)
    assert random_label_drop(model, optimizer, inputs, labels, seed=0, loss=loss) == pytest.approx(expected)


def test_a_step_that_diverges_has_a_finite_drop() -> None:
    model = nn.Linear(4, 3, dtype=torch.float32)
    optimizer = build_optimizer(model, "sgd", lr=1e38)
    inputs, labels = batch(1)
    found = random_label_drop(model, optimizer, 100 * inputs.float(), labels, seed=0)
    assert np.isfinite(found)
    assert found < -1e30
