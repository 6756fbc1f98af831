"""The losses against the formulas of their papers, written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.core.training.distributed import World
from memtrack.core.training.losses import EarlyLearning, Loss, build_loss

Array = NDArray[np.float64]
SAMPLES, CLASSES = 7, 4
LABELS = np.array([1, 0, 3, 1, 2])
ROWS = np.array([6, 0, 3, 2, 5])
LOGITS = 2 * np.random.default_rng(0).normal(size=(len(LABELS), CLASSES))
PAST = np.random.default_rng(1).dirichlet(np.ones(CLASSES), SAMPLES)
"""The targets of early learning that there are before."""


def softmax(logits: Array) -> Array:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def cross_entropy(logits: Array, label_smoothing: float = 0.0) -> float:
    targets = (1 - label_smoothing) * np.eye(CLASSES)[LABELS] + label_smoothing / CLASSES
    return float(-(targets * np.log(softmax(logits))).sum(1).mean())


def symmetric(logits: Array, alpha: float, beta: float) -> float:
    """Wang et al., equations 5 to 7: the logarithm of the one-hot label has -4 for log 0."""
    p, log_label = softmax(logits), np.where(np.eye(CLASSES)[LABELS] == 1, 0.0, -4.0)
    return alpha * cross_entropy(logits) + beta * float(-(p * log_label).sum(1).mean())


def generalized(logits: Array, q: float) -> float:
    """Zhang & Sabuncu, equation 6."""
    given = softmax(logits)[np.arange(len(LABELS)), LABELS]
    return float(((1 - given**q) / q).mean())


def early_learning(logits: Array, weight: float, momentum: float) -> float:
    """Liu et al., equations 6 and 9; the targets have learned from LOGITS before."""
    targets = moved(PAST, LOGITS, momentum)[ROWS]
    p = np.clip(softmax(logits), 1e-4, 1 - 1e-4)
    return cross_entropy(logits) + weight * float(np.log(1 - (targets * p).sum(1)).mean())


def moved(targets: Array, logits: Array, momentum: float) -> Array:
    found, targets = np.clip(softmax(logits), 1e-4, 1 - 1e-4), targets.copy()
    for row, p in zip(ROWS, found, strict=True):
        targets[row] = momentum * targets[row] + (1 - momentum) * p / p.sum()
    return targets


def loss_of(kind: str, options: dict[str, Any]) -> Loss:
    loss = build_loss(kind, samples=SAMPLES, classes=CLASSES, **options).double()
    if isinstance(loss, EarlyLearning):
        loss.targets.copy_(torch.from_numpy(PAST))
    return loss


CASES: list[tuple[str, dict[str, Any], Callable[..., float]]] = [
    ("cross_entropy", {}, cross_entropy),
    ("cross_entropy", {"label_smoothing": 0.3}, cross_entropy),
    ("symmetric_cross_entropy", {"alpha": 0.1, "beta": 1.0}, symmetric),
    ("symmetric_cross_entropy", {"alpha": 2.0, "beta": 0.3}, symmetric),
    ("generalized_cross_entropy", {"q": 0.7}, generalized),
    ("generalized_cross_entropy", {"q": 1.0}, generalized),
    ("early_learning", {"weight": 3.0, "momentum": 0.7}, early_learning),
    ("early_learning", {"weight": 0.5, "momentum": 0.0}, early_learning),
]


@pytest.mark.parametrize(("kind", "options", "formula"), CASES)
def test_value_and_gradient_are_those_of_the_formula(
    kind: str, options: dict[str, Any], formula: Callable[..., float]
) -> None:
    """The gradient by central differences of the formula in NumPy."""
    loss, logits = loss_of(kind, options), torch.tensor(LOGITS, requires_grad=True)
    labels, rows = torch.from_numpy(LABELS), torch.from_numpy(ROWS)
    loss.observe(logits.detach(), rows)
    value = loss(logits, labels, rows)
    value.backward()
    assert value.item() == pytest.approx(formula(LOGITS, **options), rel=1e-12)
    expected = np.zeros_like(LOGITS)
    for place in np.ndindex(LOGITS.shape):
        step = np.zeros_like(LOGITS)
        step[place] = 1e-5
        expected[place] = (formula(LOGITS + step, **options) - formula(LOGITS - step, **options)) / 2e-5
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("kind", "options", "formula"), CASES)
def test_a_weighted_loss_is_the_mean_of_the_weighted_losses(
    kind: str, options: dict[str, Any], formula: Callable[..., float]
) -> None:
    loss, logits = loss_of(kind, options), torch.from_numpy(LOGITS)
    labels, rows = torch.from_numpy(LABELS), torch.from_numpy(ROWS)
    loss.observe(logits, rows)
    weights = np.array([1.0, 0.25, 0.0, 0.5, 0.75])
    alone = [
        loss(logits[one : one + 1], labels[one : one + 1], rows[one : one + 1]).item() for one in range(5)
    ]
    assert np.mean(alone) == pytest.approx(formula(LOGITS, **options))
    found = loss(logits, labels, rows, torch.from_numpy(weights))
    assert found.item() == pytest.approx(float(np.mean(weights * alone)), rel=1e-12)
    ones = loss(logits, labels, rows, torch.ones(5))
    assert ones.item() == pytest.approx(loss(logits, labels, rows).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("symmetric_cross_entropy", {}), ("generalized_cross_entropy", {}), ("early_learning", {})],
)
def test_sure_and_wrong_predictions_have_finite_losses_and_gradients(
    kind: str, options: dict[str, Any]
) -> None:
    logits = torch.tensor([[500.0, -500, 0, 0]] * 2, dtype=torch.bfloat16, requires_grad=True)
    loss, rows = build_loss(kind, samples=2, classes=4, **options), torch.arange(2)
    for _ in range(50):
        loss.observe(logits.detach(), rows)
    value = loss(logits, torch.tensor([0, 1]), rows)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_targets_of_early_learning_move_once_for_each_prediction_and_stay_for_others() -> None:
    loss = loss_of("early_learning", {"momentum": 0.6})
    assert isinstance(loss, EarlyLearning)
    other = LOGITS[::-1].copy()
    for logits in (LOGITS, other):
        loss.observe(torch.from_numpy(logits), torch.from_numpy(ROWS))
        loss(torch.from_numpy(logits), torch.from_numpy(LABELS), torch.from_numpy(ROWS))
    expected = moved(moved(PAST, LOGITS, 0.6), other, 0.6)
    np.testing.assert_allclose(loss.targets.numpy(), expected, rtol=1e-12)
    assert (loss.targets[[1, 4]].numpy() == PAST[[1, 4]]).all()


def test_only_a_loss_that_learns_has_a_state() -> None:
    with_state = {kind for kind, options, _ in CASES if loss_of(kind, options).state_dict()}
    assert with_state == {"early_learning"}


class Second(World):
    """The second of two processes; the first has observed the samples 0 and 4, and predicted class 2."""

    rank, size = 1, 2

    def total(self, tensor: Tensor) -> Tensor:
        theirs = torch.zeros_like(tensor)
        theirs[[0, 4]] = torch.ones(1) if tensor.shape[1] == 1 else torch.eye(CLASSES)[2]
        return tensor + theirs


def test_after_an_epoch_every_process_has_the_targets_of_all_samples() -> None:
    loss = EarlyLearning(SAMPLES, CLASSES)
    loss.targets.copy_(torch.from_numpy(PAST))
    rows = torch.tensor([1, 2, 6])
    loss.observe(torch.zeros(3, CLASSES), rows)
    ours = loss.targets.clone()
    loss.end_epoch(Second(), rows)
    assert torch.equal(loss.targets[[1, 2, 6, 3, 5]], ours[[1, 2, 6, 3, 5]])
    assert torch.equal(loss.targets[[0, 4]], torch.eye(CLASSES)[[2, 2]])
