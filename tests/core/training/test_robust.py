"""Trainings with each of the options that resist wrong labels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from cases import CLASSES, IMAGE, samples
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.losses import build_loss
from memtrack.core.training.trainer import Trainer

SAMPLES, EPOCHS = 21, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "label smoothing": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.2}},
    "symmetric cross entropy": {"loss": {"kind": "symmetric_cross_entropy"}},
    "generalized cross entropy": {"loss": {"kind": "generalized_cross_entropy"}},
    "early learning": {"loss": {"kind": "early_learning"}},
}


def network() -> nn.Module:
    """With batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(IMAGE[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(4 * IMAGE[1] * IMAGE[2], CLASSES),
    )  # fmt: skip


def trainer(weights: int = 0, loss: dict[str, Any] | None = None, **options: Any) -> Trainer:
    """On augmented images."""
    with torch.random.fork_rng():
        torch.manual_seed(weights)
        model = network()
    return Trainer(
        model,
        optimizer={"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        schedule={"kind": "one_cycle", "warmup": 0.4},
        augment=Augmentation(crop=1, flip=True),
        epochs=EPOCHS,
        steps=3,
        seed=3,
        loss=build_loss(**(loss or {"kind": "cross_entropy"}), samples=SAMPLES, classes=CLASSES),
        **options,
    )


def order(epoch: int) -> list[NDArray[np.int64]]:
    """The samples of each batch of an epoch."""
    return np.split(np.random.default_rng(epoch).permutation(SAMPLES), [8, 16])


def train(training: Trainer, epoch: int) -> None:
    inputs, labels = samples(SAMPLES, IMAGE)
    rows = order(epoch)
    batches = [(inputs.float()[each], labels[each]) for each in rows]
    training.run_epoch(epoch, batches, rows=rows)


def saved(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def bits(state: Any) -> Any:
    """A state that == compares by every bit."""
    if isinstance(state, Tensor):
        return str(state.dtype), state.numpy().tobytes()
    if isinstance(state, dict):
        return {name: bits(value) for name, value in state.items()}
    return [bits(value) for value in state] if isinstance(state, list | tuple) else state


@pytest.mark.parametrize("name", OPTIONS)
def test_goes_on_from_a_file_as_if_it_had_not_stopped(name: str) -> None:
    """Whatever weights and random numbers there were before."""
    whole = trainer(**OPTIONS[name])
    for epoch in (1, 2):
        train(whole, epoch)
    state = torch.load(io.BytesIO(saved(whole.state())), weights_only=True)
    second = trainer(weights=1, **OPTIONS[name])
    torch.rand(5)
    second.load_state(state)
    for epoch in (3, 4):
        train(whole, epoch)
        train(second, epoch)
    assert bits(second.state()) == bits(whole.state())
    assert bits(second.model.state_dict()) == bits(whole.model.state_dict())


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_the_training(name: str) -> None:
    plain, other = trainer(), trainer(**OPTIONS[name])
    train(plain, 1)
    train(other, 1)
    assert bits(other.model.state_dict()) != bits(plain.model.state_dict())


def test_a_training_without_options_saves_no_more_than_it_did() -> None:
    assert list(trainer().state()) == ["model", "optimizer", "schedule"]


def test_a_loss_that_learns_of_samples_needs_their_rows() -> None:
    with pytest.raises(ValueError, match="needs the rows"):
        trainer(loss={"kind": "early_learning"}).run_epoch(1, [])
