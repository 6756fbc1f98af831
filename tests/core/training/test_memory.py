"""The memory of a training: counted by hand, and held against what torch allocates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memtrack.core.training.memory import saved_bytes, weight_bytes
from memtrack.core.training.models import build


def test_weights_of_a_small_network_by_hand() -> None:
    model = build("mlp", (1, 4, 4), 10, width=8, depth=2, dropout=0.0)
    assert weight_bytes(model) == 4 * (16 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10)
    with torch.device("meta"):
        assert weight_bytes(build("mlp", (1, 4, 4), 10, width=8, depth=2, dropout=0.0)) == weight_bytes(model)


def test_what_a_linear_network_keeps_by_hand() -> None:
    model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    # the inputs of both layers; the ReLU keeps its result, which is the input of the second
    assert saved_bytes(model, torch.zeros(3, 100)) == 4 * 3 * (100 + 50)


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_it_grows_with_the_batch(kind: str) -> None:
    model = build(kind, (3, 16, 16), 10, width=16, depth=2, dropout=0.5)
    two, eight = (saved_bytes(model, torch.zeros(count, 3, 16, 16)) for count in (2, 8))
    assert eight == pytest.approx(4 * two, rel=0.05)


def test_what_a_convolution_keeps_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    pixels = 5 * 16 * 16
    by_hand = 4 * pixels * (3 + 8 + 8)  # what goes into the convolution and the norm, what comes out
    assert (
        by_hand <= saved_bytes(model, torch.zeros(5, 3, 16, 16)) <= by_hand + 1000
    )  # and the norm's numbers


def test_frozen_weights_keep_nothing() -> None:
    model = nn.Sequential(nn.Linear(100, 50), nn.ReLU()).requires_grad_(False)
    assert saved_bytes(model, torch.zeros(3, 100)) == 0
