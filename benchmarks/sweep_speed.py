"""How fast is one sweep, compared with bare gradient passes and with the published recipe?

    python benchmarks/sweep_speed.py                                   # on this CPU
    python benchmarks/sweep_speed.py --device cuda --precision bfloat16

For each network, the rounds of all contenders alternate. A ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.recording import recorder
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.eval_mode import frozen_eval, summed_loss
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.recorder import fastest_batch_size, record_epoch
from memtrack.core.training import models

Work = tuple[nn.Module, Tensor, Tensor, int]
"""A model, inputs, labels, and the size of a batch."""
SHAPE = (3, 32, 32)
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "CNN 16-32-64": (2048, lambda: models.cnn(SHAPE, 10, width=16, depth=3, dropout=0.5)),
    "ResNet-18": (128, lambda: models.torchvision_model(SHAPE, 10, name="resnet18", small_stem=True)),
}


def bare_passes(work: Work, precision: Precision, count: int) -> None:
    """`count` forward passes and backward passes to the input, and nothing else."""
    model, inputs, labels, batch = work
    with frozen_eval(model):
        for images, given in zip(inputs.split(batch), labels.split(batch), strict=True):
            for _ in range(count):
                leaf, _, loss = summed_loss(model, images, given, precision)
                torch.autograd.grad(loss, leaf)


def published_recipe(work: Work, probes: int, h: float) -> Tensor:
    """Two forward and two backward passes per probe, mean loss over batches of 128, parameters not frozen.

    In float32, as published.
    """
    model, inputs, labels, _ = work
    model.eval()
    found = []
    for images, given in zip(inputs.split(128), labels.split(128), strict=True):
        total = torch.zeros(len(images), device=images.device)
        for _ in range(probes):
            probe = torch.randint_like(images, 2) * 2 - 1
            gradients = []
            for at in (images + h * probe, images):
                leaf = at.detach().requires_grad_(True)
                gradients += torch.autograd.grad(cross_entropy(model(leaf), given), leaf)
            total += (gradients[0] - gradients[1]).flatten(1).norm(dim=1)
        found.append(total / probes)
    return torch.cat(found)


def sweep(work: Work, estimator: ForwardDifference) -> None:
    model, inputs, labels, batch = work
    for _ in record_epoch(
        model, zip(inputs.split(batch), labels.split(batch), strict=True), estimator, epoch=1
    ):
        pass


def plain_sweep(work: Work, estimator: ForwardDifference) -> None:
    """The sweep of a model that cannot be folded."""
    with patch.object(recorder, "folded", lambda *_: None):
        sweep(work, estimator)


def timed(function: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    contenders: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each contender in each round, after a warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, function in contenders.items():
            taken = timed(function, device)
            if number:
                seconds[name].append(taken)
    return seconds


def ratio(seconds: dict[str, list[float]], one: str, other: str) -> str:
    ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, help="number of images; default: that of the network")
    parser.add_argument("--network", choices=NETWORKS, help="only measure this network")
    parser.add_argument("--probes", type=int, nargs="+", default=[1, 10])
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.precision}")
    for name in [options.network] if options.network else NETWORKS:
        count, build = NETWORKS[name]
        count = options.images or count
        torch.manual_seed(0)
        model = build().to(device)
        inputs, labels = (
            torch.randn(count, *SHAPE, device=device),
            torch.randint(0, 10, (count,), device=device),
        )
        model.train()
        for images in inputs[:256].split(64):
            model(images)  # sets the running statistics
        estimators = [ForwardDifference(0.1, n, precision=options.precision) for n in options.probes]
        batch = fastest_batch_size(model, inputs, labels, estimators[0])
        print(f"\n{name}, {count} images of 3x32x32, batch {batch}")
        for estimator in estimators:
            n = estimator.probes
            work = (model, inputs, labels, batch)
            contenders: dict[str, Callable[[], object]] = {
                "bare": lambda: bare_passes(work, options.precision, n + 1),  # noqa: B023
                "plain": lambda: plain_sweep(work, estimator),  # noqa: B023
                "folded": lambda: sweep(work, estimator),  # noqa: B023
                "recipe": lambda: published_recipe(work, n, 1e-3),  # noqa: B023
            }
            seconds = compare(contenders, options.rounds, device)
            fastest = count * (n + 1) / min(seconds["folded"])
            print(f"  n = {n}: sweep without folding / bare passes: {ratio(seconds, 'plain', 'bare')}")
            print(f"  n = {n}: sweep / bare passes:                 {ratio(seconds, 'folded', 'bare')}")
            print(f"  n = {n}: published recipe / sweep:            {ratio(seconds, 'recipe', 'folded')}")
            print(f"  n = {n}: {count / min(seconds['folded']):.0f} images/s, {fastest:.0f} gradients/s")


if __name__ == "__main__":
    main()
