"""How fast is one sweep, compared with bare gradient passes and with the published recipe?

    python benchmarks/sweep_speed.py                                   # on this CPU
    python benchmarks/sweep_speed.py --device cuda --precision tf32 --network ResNet-18

For each network, the rounds of all contenders alternate. A ratio is the median over the rounds, with the
smallest and the largest. With other programs on the machine, --cpu-seconds compares the work of the CPU.

`bare passes` are n + 1 forward passes and backward passes to the input, and nothing else, in the same
precision and layout. The published recipe is run in this precision too and, on a GPU, as published: with
torch's defaults, which let convolutions use TensorFloat-32.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.recording import recorder
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.eval_mode import channels_last, frozen_eval, summed_loss
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.recorder import fastest_batch_size, record_epoch
from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.torchvision import torchvision_model
from memtrack.core.training.precision import training_precision

Work = tuple[nn.Module, Tensor, Tensor, int]
"""A model, inputs, labels, and the size of a batch."""
SHAPE = (3, 32, 32)
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "CNN 16-32-64": (2048, lambda: cnn(SHAPE, 10, width=16, depth=3, dropout=0.5)),
    "ResNet-18": (128, lambda: torchvision_model(SHAPE, 10, name="resnet18", small_stem=True)),
}


def last(images: Tensor) -> Tensor:
    """The images as the sweep has them on a GPU."""
    return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cuda" else images


@contextmanager
def prepared(model: nn.Module, precision: Precision, device: torch.device) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(frozen_eval(model, precision))
        if device.type == "cuda":
            stack.enter_context(channels_last(model))
        yield


def bare_passes(work: Work, precision: Precision, count: int) -> None:
    """`count` forward passes and backward passes to the input, and nothing else."""
    model, inputs, labels, batch = work
    with prepared(model, precision, inputs.device):
        for images, given in zip(inputs.split(batch), labels.split(batch), strict=True):
            images = last(images)
            for _ in range(count):
                leaf, _, loss = summed_loss(model, images, given, precision)
                torch.autograd.grad(loss, leaf)


def published_recipe(work: Work, probes: int, h: float) -> Tensor:
    """Two forward and two backward passes per probe, mean loss over batches of 128, parameters not frozen."""
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


def recipe_in(work: Work, probes: int, precision: Precision) -> Tensor:
    """The published recipe in a given precision."""
    with training_precision(precision, work[1].device):
        return published_recipe(work, probes, 1e-3)


def sweep(work: Work, estimator: ForwardDifference) -> None:
    model, inputs, labels, batch = work
    for _ in record_epoch(
        model, zip(inputs.split(batch), labels.split(batch), strict=True), estimator, epoch=1
    ):
        pass


def plain_sweep(work: Work, estimator: ForwardDifference) -> None:
    """The sweep without folding on a CPU, and without the layout channels-last on a GPU."""
    with ExitStack() as stack:
        if work[1].device.type == "cuda":
            stack.enter_context(patch.object(recorder, "channels_last", lambda _: nullcontext()))
            stack.enter_context(patch.object(torch, "channels_last", torch.contiguous_format))
        else:
            stack.enter_context(patch.object(recorder, "folded", lambda *_: None))
        sweep(work, estimator)


def compare(
    contenders: dict[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """The seconds of each contender in each round, after a warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, function in contenders.items():
            start = clock()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken = clock() - start
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
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="number of images; default: that of the network")
    parser.add_argument("--network", choices=NETWORKS, help="only measure this network")
    parser.add_argument("--probes", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--cpu-seconds", action="store_true", help="not the seconds on the wall")
    options = parser.parse_args()
    device, precision = torch.device(options.device), options.precision
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    what = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{device} ({what}), torch {torch.__version__}, {precision}")
    for name in [options.network] if options.network else NETWORKS:
        count, build = NETWORKS[name]
        count = options.images or count
        torch.manual_seed(0)
        model = build().to(device)
        inputs = torch.randn(count, *SHAPE, device=device)
        labels = torch.randint(0, 10, (count,), device=device)
        model.train()
        for images in inputs[:256].split(64):
            model(images)  # sets the running statistics
        estimators = [ForwardDifference(0.1, n, precision=precision) for n in options.probes]
        batch = fastest_batch_size(model, inputs, labels, estimators[0])
        print(f"\n{name}, {count} images of 3x32x32, batch {batch}")
        for estimator in estimators:
            n = estimator.probes
            work = (model, inputs, labels, batch)
            contenders: dict[str, Callable[[], object]] = {
                "bare passes": lambda: bare_passes(work, precision, n + 1),  # noqa: B023
                "plain sweep": lambda: plain_sweep(work, estimator),  # noqa: B023
                "sweep": lambda: sweep(work, estimator),  # noqa: B023
                "published recipe": lambda: recipe_in(work, n, precision),  # noqa: B023
            }
            if device.type == "cuda" and precision != "tf32":
                contenders["recipe as published"] = lambda: published_recipe(work, n, 1e-3)  # noqa: B023
            seconds = compare(contenders, options.rounds, device, clock)
            for one, other in [("sweep", "bare passes"), ("plain sweep", "bare passes"),
                               *((name, "sweep") for name in [*contenders][3:])]:  # fmt: skip
                print(f"  n = {n}: {one} / {other}: {ratio(seconds, one, other)}")
            taken = min(seconds["sweep"])
            print(f"  n = {n}: {count / taken:.0f} images/s, {count * (n + 1) / taken:.0f} gradients/s")


if __name__ == "__main__":
    main()
