"""Two networks that are trained together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import CLASSES, IMAGE, image_network, samples
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.training.co_training import JoCoR, MeanOfTwo
from memtrack.core.training.models.finetuning import Finetuning, finetuned
from memtrack.core.training.models.mlp import mlp
from memtrack.core.training.optimizers import build_optimizer


def probabilities(logits: Tensor) -> NDArray[np.float64]:
    powers = np.exp(logits.numpy())
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@pytest.mark.parametrize(("epoch", "kept"), [(1, 10), (2, 9), (3, 8), (4, 7), (5, 6), (9, 6)])
def test_the_loss_of_co_training_is_the_mean_over_the_smallest(epoch: int, kept: int) -> None:
    """Of ten samples, four are left out after four epochs."""
    both = 2 * torch.randn(2, 10, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(10) % CLASSES
    loss = JoCoR(weight=0.7, forget_rate=0.4, warmup=4)
    loss.start_epoch(epoch)
    found = loss(both.requires_grad_(), labels)
    found.backward()
    one, other = probabilities(both.detach())
    losses = [
        0.3 * (-np.log(p[label]) - np.log(q[label]))
        + 0.7 * ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())
        for p, q, label in zip(one, other, labels, strict=True)
    ]
    assert found.item() == pytest.approx(np.sort(losses)[:kept].mean())
    assert both.grad is not None
    learned_from = both.grad.abs().sum((0, 2)) > 0
    assert set(learned_from.nonzero()[:, 0].tolist()) == set(np.argsort(losses)[:kept].tolist())


def test_the_weighted_loss_of_co_training() -> None:
    """Of the smallest losses, whatever their weights; the mean weight is divided out by the step."""
    both = 2 * torch.randn(2, 10, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, weights = torch.arange(10) % CLASSES, np.arange(10) / 10
    loss = JoCoR(weight=0.7, forget_rate=0.4, warmup=4)
    loss.start_epoch(9)
    losses = loss.losses(both, labels).numpy()
    kept = np.argsort(losses)[:6]
    found = loss(both, labels, None, torch.from_numpy(weights)).item()
    assert found / weights.mean() == pytest.approx(np.average(losses[kept], weights=weights[kept]))
    assert loss(both, labels, None, torch.zeros(10)).item() == 0


def test_the_mean_of_two_networks_is_that_of_their_probabilities() -> None:
    model = MeanOfTwo(image_network(), image_network())
    nn.init.normal_(model.second[-1].weight)
    inputs, _ = samples(5, IMAGE)
    assert model.train()(inputs).shape == (2, 5, CLASSES)
    with torch.no_grad():
        logits = model.eval()(inputs)
        one, other = (probabilities(part(inputs)) for part in (model.first, model.second))
    assert np.abs(one - other).max() > 0.1
    np.testing.assert_allclose(np.exp(logits.numpy()), (one + other) / 2, rtol=1e-12)
    assert torch.equal(model.train().eval()(inputs).detach(), logits)


def test_both_networks_of_co_training_are_trained_with_their_rates() -> None:
    def finetuned_() -> nn.Module:
        how = Finetuning(mean=[0.5] * IMAGE[0], std=[0.2] * IMAGE[0], rate=0.1)
        return finetuned(
            lambda shape, classes: mlp(shape, classes, width=3, depth=1, dropout=0.0), IMAGE, CLASSES, how
        )

    model = MeanOfTwo(finetuned_(), finetuned_())
    optimizer = build_optimizer(model, "sgd", lr=1.0)
    held = {id(own): group["lr"] for group in optimizer.param_groups for own in group["params"]}
    assert {id(own) for own in model.parameters()} == set(held)
    for part in (model.first, model.second):
        assert sorted(held[id(own)] for own in part.parameters()) == [0.1, 0.1, 1.0, 1.0]
