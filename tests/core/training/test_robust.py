"""Trainings with each of the options that resist wrong labels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from cases import CLASSES, IMAGE, samples
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.co_training import JoCoR, MeanOfTwo
from memtrack.core.training.losses import Loss, build_loss
from memtrack.core.training.mixup import Mixup
from memtrack.core.training.sharpness import SharpnessAwareStep
from memtrack.core.training.steps import Batch, Step, Target
from memtrack.core.training.trainer import Trainer

SAMPLES, EPOCHS = 21, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "label smoothing": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.2}},
    "symmetric cross entropy": {"loss": {"kind": "symmetric_cross_entropy"}},
    "generalized cross entropy": {"loss": {"kind": "generalized_cross_entropy"}},
    "early learning": {"loss": {"kind": "early_learning"}},
    "mixup": {"mixup": 0.5},
    "average": {"average": 0.8},
    "sam": {"sam": 0.1},
    "co-training": {"co_training": {"weight": 0.6, "forget_rate": 0.3, "warmup": 3}},
    "mixup of early learning, averaged, with sam": {
        "loss": {"kind": "early_learning"},
        "mixup": 2.0,
        "average": 0.5,
        "sam": 0.05,
    },
    "co-training, averaged": {
        "co_training": {"weight": 0.6, "forget_rate": 0.3, "warmup": 3},
        "average": 0.8,
    },
}


def network() -> nn.Module:
    """With batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(IMAGE[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(4 * IMAGE[1] * IMAGE[2], CLASSES),
    )  # fmt: skip


def trainer(
    weights: int = 0,
    loss: dict[str, Any] | None = None,
    co_training: dict[str, Any] | None = None,
    device: str = "cpu",
    **options: Any,
) -> Trainer:
    """On augmented images."""
    with torch.random.fork_rng():
        torch.manual_seed(weights)
        model = network() if co_training is None else MeanOfTwo(network(), network())
    made = build_loss(**(loss or {"kind": "cross_entropy"}), samples=SAMPLES, classes=CLASSES)
    return Trainer(
        model.to(device),
        optimizer={"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        schedule={"kind": "one_cycle", "warmup": 0.4},
        augment=Augmentation(crop=1, flip=True),
        epochs=EPOCHS,
        steps=3,
        seed=3,
        loss=made if co_training is None else JoCoR(**co_training),
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
        return str(state.dtype), state.detach().numpy().tobytes()
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
    assert second.learning_rate == whole.learning_rate


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_gpu_is_not_waited_for_within_an_epoch(name: str, precision: str) -> None:
    training = trainer(device="cuda", precision=precision, **OPTIONS[name])
    inputs, labels = samples(SAMPLES, IMAGE)
    rows = order(1)
    batches = [(inputs.float()[each].cuda(), labels[each].cuda()) for each in rows]

    def watched() -> Iterator[tuple[Tensor, Tensor]]:
        torch.cuda.set_sync_debug_mode("error")
        yield from batches
        torch.cuda.set_sync_debug_mode("default")

    training.run_epoch(1, batches, rows=rows)  # warms up
    try:
        training.run_epoch(2, watched(), rows=rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")


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


# --- mixup ---------------------------------------------------------------------------------------


def whole_batch(count: int = 6) -> Batch:
    inputs, labels = samples(count, IMAGE)
    return Batch(inputs, (Target(labels, torch.arange(count) + 10),), count)


def test_a_mixture_is_that_of_a_loop() -> None:
    """The draws are those of the generator: the share of the batch, then the order."""
    batch = whole_batch()
    mixed = Mixup(0.4)(batch, np.random.default_rng(5))
    draw = np.random.default_rng(5)
    share, order = draw.beta(0.4, 0.4), draw.permutation(6)
    first, second = mixed.targets
    assert (first.weight, second.weight) == (share, 1 - share)
    for i, j in enumerate(order):
        expected = share * batch.inputs[i] + (1 - share) * batch.inputs[j]
        torch.testing.assert_close(mixed.inputs[i], expected)
        assert (first.labels[i], second.labels[i]) == (batch.targets[0].labels[i], batch.targets[0].labels[j])
        assert first.rows is not None
        assert second.rows is not None
        assert (first.rows[i], second.rows[i]) == (i + 10, j + 10)


class Given(nn.Module):
    """Its weight times its inputs are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weight * inputs


@pytest.mark.parametrize(
    "kind", ["cross_entropy", "symmetric_cross_entropy", "generalized_cross_entropy", "early_learning"]
)
def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(kind: str) -> None:
    """The target of early learning that moves is that of the sample with the larger part."""
    logits, labels = samples(6, (CLASSES,))
    batch = Mixup(0.4)(Batch(logits, (Target(labels, torch.arange(6)),), 6), np.random.default_rng(5))
    loss, apart = (build_loss(kind, samples=6, classes=CLASSES).double() for _ in range(2))
    model = Given()
    found = Step(model, SGD(model.parameters(), lr=1.0), loss)(batch)
    outputs = 0.7 * batch.inputs
    first, second = batch.targets
    apart.observe(outputs, first.rows if first.weight > 0.5 else second.rows)
    losses = [apart(outputs, target.labels, target.rows) for target in batch.targets]
    assert found.loss.item() == pytest.approx((first.weight * losses[0] + second.weight * losses[1]).item())
    assert bits(loss.state_dict()) == bits(apart.state_dict())
    right = [(outputs.argmax(1) == target.labels).sum().item() for target in batch.targets]
    assert found.correct.item() == pytest.approx(first.weight * right[0] + second.weight * right[1])


# --- the average ---------------------------------------------------------------------------------


def test_the_average_is_the_weighted_mean_of_what_every_step_left() -> None:
    training = trainer(average=0.7)
    steps: list[dict[str, Tensor]] = []
    training.optimizer.register_step_post_hook(
        lambda *_: steps.append({key: one.clone() for key, one in training.trained.state_dict().items()})
    )
    for epoch in (1, 2):
        train(training, epoch)
    shares = np.array([0.7 ** (len(steps) - 1 - step) for step in range(len(steps))])
    for name, found in training.model.state_dict().items():
        values = np.stack([step[name].numpy() for step in steps])
        expected = np.tensordot(shares / shares.sum(), values, 1)
        if not found.is_floating_point():
            expected = values[-1]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert len(steps) == 6


def test_the_average_changes_nothing_in_the_training() -> None:
    plain, averaged = trainer(), trainer(average=0.9)
    for epoch in (1, 2):
        train(plain, epoch)
        train(averaged, epoch)
    assert bits(averaged.trained.state_dict()) == bits(plain.model.state_dict())
    assert bits(averaged.model.state_dict()) != bits(plain.model.state_dict())


def test_the_averaged_network_is_the_one_that_is_tested() -> None:
    training = trainer(average=0.5)
    train(training, 1)
    inputs, labels = samples(SAMPLES, IMAGE)
    with torch.no_grad():
        predicted = training.model.eval()(inputs.float()).argmax(1)
    assert training.accuracy([(inputs.float(), labels)]) == pytest.approx(
        (predicted == labels).float().mean().item()
    )


# --- sharpness-aware minimization ----------------------------------------------------------------


class Quadratic(Loss):
    """Half of w^T A w, whatever the inputs: the outputs are w."""

    A = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        return 0.5 * outputs[0] @ self.A @ outputs[0]


class Weights(nn.Module):
    """Two weights, in two parameters, and a count of its passes in training mode."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor([0.6], dtype=torch.float64))
        self.other = nn.Parameter(torch.tensor([-1.1], dtype=torch.float64))
        self.register_buffer("passes", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        return torch.cat([self.one, self.other]).expand(len(inputs), 2)


def test_a_sharpness_aware_step_on_a_quadratic() -> None:
    """The gradient at w is A w, and the one nearby is A (w + rho A w / |A w|)."""
    model = Weights()
    step = SharpnessAwareStep(model, SGD(model.parameters(), lr=0.1), Quadratic(), rho=0.5)
    found = step(Batch(torch.zeros(4, 2), (Target(torch.zeros(4, dtype=torch.int64)),), 4))
    weights, matrix = np.array([0.6, -1.1]), Quadratic.A.numpy()
    gradient = matrix @ weights
    nearby = matrix @ (weights + 0.5 * gradient / np.linalg.norm(gradient))
    expected = weights - 0.1 * nearby
    assert [model.one.item(), model.other.item()] == pytest.approx(expected.tolist(), rel=1e-12)
    assert found.loss.item() == pytest.approx(0.5 * weights @ matrix @ weights)
    assert model.passes == 1


def test_statistics_of_batch_norms_are_those_of_the_first_pass() -> None:
    inputs, labels = samples(8, IMAGE)
    batch = Batch(inputs.float(), (Target(labels),), 8)
    plain, sharp = (trainer().trained for _ in range(2))
    for model, make in ((plain, Step), (sharp, partial(SharpnessAwareStep, rho=0.3))):
        make(model, SGD(model.parameters(), lr=0.1))(batch)
    assert bits(dict(sharp.named_buffers())) == bits(dict(plain.named_buffers()))
    assert bits(dict(sharp.named_parameters())) != bits(dict(plain.named_parameters()))


@pytest.mark.parametrize(
    "name", ["cross_entropy", "symmetric_cross_entropy", "generalized_cross_entropy", "early_learning"]
)
@pytest.mark.parametrize("sam", [False, True])
def test_a_sample_of_weight_zero_is_as_if_it_were_left_out(name: str, sam: bool) -> None:
    """And a step follows the weighted mean: all weights halved change nothing."""
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, rows = torch.arange(6) % CLASSES, torch.arange(6)

    def after(chosen: list[int], weights: list[float] | None) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, CLASSES).double()
        optimizer = SGD(model.parameters(), lr=0.5)
        loss = build_loss(name, samples=6, classes=CLASSES).double()
        step = SharpnessAwareStep(model, optimizer, loss, rho=0.1) if sam else Step(model, optimizer, loss)
        own = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        for _ in range(2):
            target = Target(labels[chosen], rows[chosen], weights=own)
            step(Batch(inputs[chosen], (target,), len(chosen), None if weights is None else sum(weights)))
        return model.weight.detach().flatten().tolist()

    left = after([0, 1, 3, 5], None)
    assert after([0, 1, 2, 3, 4, 5], [1, 1, 0, 1, 0, 1]) == pytest.approx(left, rel=1e-12)
    assert after([0, 1, 2, 3, 4, 5], [0.5, 0.5, 0, 0.5, 0, 0.5]) == pytest.approx(left, rel=1e-12)
    assert after([0, 1, 3, 5], [1, 1, 0.5, 1]) != pytest.approx(left, rel=1e-3)


def test_weights_of_a_whole_training() -> None:
    """All weights 1 take the same steps as none, but for rounding; mixup mixes the weights, too; the loss of
    an epoch is the weighted mean."""
    plain, ones, mixed, halves = (
        trainer(**options)
        for options in ({}, {"sample_weights": np.ones(SAMPLES)}, {"mixup": 0.4},
                        {"mixup": 0.4, "sample_weights": np.full(SAMPLES, 0.5)})
    )  # fmt: skip
    for one in (plain, ones, mixed, halves):
        train(one, 1)
    for first, second in ((plain, ones), (mixed, halves)):
        for own, other in zip(first.trained.parameters(), second.trained.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
    inputs, labels = samples(SAMPLES, IMAGE)
    batches = [(inputs.float()[rows], labels[rows]) for rows in order(2)]
    found = halves.run_epoch(2, batches, rows=order(2)).loss
    assert found == pytest.approx(mixed.run_epoch(2, batches, rows=order(2)).loss, rel=1e-3)
    with pytest.raises(ValueError, match="weights need the rows"):
        ones.run_epoch(2, batches)
