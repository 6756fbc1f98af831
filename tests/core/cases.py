"""Small networks and samples that several tests of the core use, and their exact derivatives."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

CLASSES = 3
IMAGE = (2, 6, 5)


def smooth_network(activation: type[nn.Module] = nn.Tanh, inputs: int = 5) -> nn.Sequential:
    """A twice differentiable network of float64 vectors."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        layers = [nn.Linear(inputs, 8), activation(), nn.Linear(8, 8), activation()]
        network = nn.Sequential(*layers, nn.Linear(8, CLASSES)).double()
        for parameter in network.parameters():
            parameter.data *= 2  # so that the loss bends enough to be told from rounding
        return network


def image_network() -> nn.Sequential:
    """A float64 CNN in training mode, with dropout and used batch norm statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(IMAGE[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus()),
            nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6 * IMAGE[1] * IMAGE[2], CLASSES),
        ).double()
        for _ in range(3):
            network(2 * torch.randn(16, *IMAGE, dtype=torch.float64) + 1)
        return network


def samples(count: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random float64 inputs and labels in which every class occurs."""
    generator = torch.Generator().manual_seed(count)
    inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return inputs, torch.arange(count) * 2 % CLASSES


def in_batches(inputs: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(inputs.split(size), labels.split(size), strict=True)


def sample_loss(network: nn.Module, sample: Tensor, label: int | Tensor) -> Tensor:
    """-log softmax(f(x))_y of one sample."""
    logits = network(sample[None])[0]
    return torch.logsumexp(logits, 0) - logits[label]


def sample_gradient(network: nn.Module, sample: Tensor, label: int | Tensor) -> Tensor:
    """The gradient of one sample's loss in its input."""
    sample = sample.clone().requires_grad_(True)
    sample_loss(network, sample, label).backward(inputs=[sample])
    assert sample.grad is not None
    return sample.grad


def sample_hessian(network: nn.Module, sample: Tensor, label: int | Tensor) -> Tensor:
    """The Hessian of one sample's loss in its input, (D, D), by double backward."""
    hessian = torch.autograd.functional.hessian(lambda moved: sample_loss(network, moved, label), sample)
    assert isinstance(hessian, Tensor)
    return hessian.reshape(sample.numel(), sample.numel())
