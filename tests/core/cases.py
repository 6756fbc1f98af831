"""Small networks and samples that several tests of the core use, and their exact derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
        torch.manual_seed(21)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(IMAGE[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus()),
            nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6 * IMAGE[1] * IMAGE[2], CLASSES),
        ).double()
        return used(network)


def small_cnn() -> nn.Sequential:
    """A float32 CNN of the usual parts, with max pooling and used batch norm statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(34)
        layers: list[nn.Module] = []
        for inputs, outputs in [(IMAGE[0], 4), (4, 6)]:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        return used(
            nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, CLASSES)).double()
        ).float()


def used(network: nn.Sequential) -> nn.Sequential:
    """The network after three batches in training mode, as statistics and scales are in training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    for _ in range(3):
        network(2 * torch.randn(16, *IMAGE, dtype=torch.float64) + 1)
    return network


class Branching(nn.Module):
    """The same logits, by control flow that depends on the data, which torch.fx cannot trace."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.abs().max() > 1000:
            raise RuntimeError("out of memory")
        logits: Tensor = self.network(inputs)
        return logits


class SharedConvolution(nn.Module):
    """One convolution in two paths, of which the first alone has a batch norm."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(17)
            self.convolution = nn.Conv2d(IMAGE[0], 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)
            nn.init.normal_(self.norm.weight, 1, spread)
            nn.init.normal_(self.norm.bias, 0, spread)
            self.norm.running_mean = spread * torch.randn(3)
            self.norm.running_var = 1 + spread * torch.rand(3)
            self.last = nn.Linear(3 * IMAGE[1] * IMAGE[2], CLASSES)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        one, other = self.norm(self.convolution(inputs)), self.convolution(inputs.flip(3))
        logits: Tensor = self.last((one.tanh() + other.tanh()).flatten(1))
        return logits


def _in_a_new_thread(function: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def surroundings() -> dict[str, Any]:
    """What torch has set for the whole process or thread, and measuring must not change."""
    backends = {
        f"{name}.{part}": getattr(getattr(torch.backends, name), part).fp32_precision
        for name in ("cudnn", "mkldnn")
        for part in ("conv", "rnn")
    }
    return backends | {
        "cuda.matmul": torch.backends.cuda.matmul.fp32_precision,
        "mkldnn.matmul": torch.backends.mkldnn.matmul.fp32_precision,
        "all": torch.backends.fp32_precision,
        "threads": torch.get_num_threads(),
        "threads for others": _in_a_new_thread(torch.get_num_threads),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "autocast type": torch.get_autocast_dtype("cpu"),
        "random": torch.get_rng_state().tolist(),
    }


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
    hessian = torch.autograd.functional.hessian(
        lambda moved: sample_loss(network, moved, label), sample, vectorize=True
    )
    assert isinstance(hessian, Tensor)
    return hessian.reshape(sample.numel(), sample.numel())
