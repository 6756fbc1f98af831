"""How well do float32, TensorFloat-32 and bfloat16 measure the curvature? Compared with float64.

    python benchmarks/precision.py                            # a small CNN, on this CPU: minutes
    python benchmarks/precision.py --device cuda              # ResNet-18 with a small stem: a minute
    python benchmarks/precision.py --images FOLDER_OR_TAR     # image files, one folder a class; else made up

The network is first trained on the images for some epochs, with 10% wrong labels. Each cell of the table has
the median relative difference of the curvature of some images, and Spearman's rho. A CPU has no
TensorFloat-32: there it is simulated, by rounding what goes into convolutions and matrix products to 11 bits,
in the forward and the backward pass, as the tensor cores of a GPU do (to the nearest, or towards zero).
"""

from __future__ import annotations

import argparse
import copy
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

from memtrack.core.recording import recorder
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.precision import SMALLEST_SCALE, Precision
from memtrack.core.recording.recorder import ProbeNormRecorder, joined, record_epoch
from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.torchvision import torchvision_model
from memtrack.core.training.precision import training_precision

BATCH, PROBES, CLASSES, SHAPE = 64, 10, 10, (3, 32, 32)
SCALES = (1e-3, 3e-3, 0.01, 0.03, 0.1)
Found = tuple[dict[float, NDArray[np.float32]], NDArray[np.float32], float]
"""For each h the norms (PROBES, samples), the gradient norms (samples,), and the seconds of all."""


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The class and the content of every image in a folder or a tar file, in the order of their names."""
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.suffix in (".jpg", ".jpeg", ".png"))
        yield from ((one.parent.name, one.read_bytes()) for one in found)
        return
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            stream = archive.extractfile(member) if member.name.endswith((".jpg", ".jpeg", ".png")) else None
            if stream is not None:
                yield Path(member.name).parent.name, stream.read()


def pictures(path: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """`count` images, normalized (count, 3, 32, 32), and labels, of which a tenth is drawn anew."""
    draw = np.random.default_rng(0)
    if path is None:
        labels = draw.integers(0, CLASSES, count)
        classes = draw.normal(size=(CLASSES, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
        images = classes[labels] + draw.normal(scale=1.5, size=(count, *SHAPE))
    else:
        every = list(files(path))
        chosen = [every[number] for number in draw.permutation(len(every))[:count]]
        names = sorted({name for name, _ in every})[:CLASSES]
        chosen = [(name, content) for name, content in chosen if name in names]
        labels = np.array([names.index(name) for name, _ in chosen])
        opened = (Image.open(io.BytesIO(content)).convert("RGB").resize(SHAPE[1:]) for _, content in chosen)
        images = np.stack([np.asarray(one) for one in opened]).transpose(0, 3, 1, 2) / 255
    images = (images - images.mean((0, 2, 3), keepdims=True)) / images.std((0, 2, 3), keepdims=True)
    wrong = draw.permutation(len(labels))[: len(labels) // 10]
    labels[wrong] = draw.integers(0, CLASSES, len(wrong))
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels)


def train(network: nn.Module, inputs: Tensor, labels: Tensor, epochs: int, precision: Precision) -> None:
    """Train with SGD; what is printed tells how far the labels are fitted."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for _ in range(epochs):
        network.train()
        right = torch.zeros((), device=inputs.device)
        for rows in torch.randperm(len(labels), device=inputs.device).split(128):
            with training_precision(precision, inputs.device):
                logits = network(inputs[rows])
                loss = nn.functional.cross_entropy(logits, labels[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            right += (logits.argmax(1) == labels[rows]).sum()
    print(f"{len(labels)} images, {epochs} epochs: {float(right) / len(labels):.0%} of the labels are fitted")


def short(numbers: Tensor, to_nearest: bool) -> Tensor:
    """float32 numbers with 11 bits, rounded to the nearest or towards zero."""
    bits = numbers.detach().contiguous().view(torch.int32)
    return ((bits + 0x1000 if to_nearest else bits) & -0x2000).view(torch.float32)


class ShortForward(torch.autograd.Function):
    """Rounds in the forward pass."""

    @staticmethod
    def forward(ctx: object, numbers: Tensor, to_nearest: bool) -> Tensor:
        return short(numbers, to_nearest)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class ShortBackward(torch.autograd.Function):
    """Rounds in the backward pass."""

    @staticmethod
    def forward(ctx: object, numbers: Tensor, to_nearest: bool) -> Tensor:
        ctx.to_nearest = to_nearest  # type: ignore[attr-defined]
        return numbers.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return short(gradient, ctx.to_nearest), None  # type: ignore[attr-defined]


def simulated(network: nn.Module, to_nearest: bool) -> nn.Module:
    """A copy whose convolutions and linear layers compute as in TensorFloat-32."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = short(layer.weight.data, to_nearest)
            layer.register_forward_pre_hook(lambda _, given: (ShortForward.apply(given[0], to_nearest),))
            layer.register_forward_hook(lambda _, given, found: ShortBackward.apply(found, to_nearest))
    return network


def measured(network: nn.Module, inputs: Tensor, labels: Tensor, precision: Precision) -> Found:
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    start = time.perf_counter()
    with (
        patch.dict(SMALLEST_SCALE, {precision: 0.0}),
        patch.object(recorder, "folded", lambda *_: None),  # a folded copy of a simulation would be exact
    ):
        record = joined(record_epoch(network, batches, ForwardDifference(1.0, precision=precision), epoch=1))
        probing = ProbeNormRecorder(network, batches, precision, epoch=1, keep=True)
        found = {
            h: probing.probe_norms(ForwardDifference(h, precision=precision), range(PROBES)) for h in SCALES
        }
    return found, record["input_gradient_norm"].astype(np.float32), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--count", type=int, help="number of images; default: 2,000, on a GPU 10,000")
    parser.add_argument("--samples", type=int, default=512, help="number of images that are measured")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    torch.manual_seed(0)
    inputs, labels = pictures(options.images, options.count or (10_000 if on_gpu else 2000))
    inputs, labels = inputs.to(device), labels.to(device)
    network = (
        torchvision_model(SHAPE, CLASSES, name="resnet18", small_stem=True)
        if on_gpu
        else cnn(SHAPE, CLASSES, width=16, depth=3, dropout=0.0)
    ).to(device)
    name = "ResNet-18" if on_gpu else "CNN 16-32-64"
    where = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
    print(f"{name}, {device} ({where}), torch {torch.__version__}; images: {options.images or 'made up'}")
    train(network, inputs, labels, options.epochs, "bfloat16" if on_gpu else "float32")
    inputs, labels = inputs[: options.samples], labels[: options.samples]
    contenders: dict[str, Callable[[], Found]] = {
        "float32": lambda: measured(network, inputs, labels, "float32"),
        "bfloat16": lambda: measured(network, inputs, labels, "bfloat16"),
    }
    if on_gpu:
        contenders["tf32"] = lambda: measured(network, inputs, labels, "tf32")
    else:
        for title, nearest in (("tf32 (nearest)", True), ("tf32 (to zero)", False)):
            contenders[title] = lambda nearest=nearest: measured(
                simulated(network, nearest), inputs, labels, "float32"
            )
    truth, slopes, seconds = measured(copy.deepcopy(network).double(), inputs.double(), labels, "float32")
    found = {title: measure() for title, measure in contenders.items()}
    taken = ", ".join(f"{title} {one[2]:.1f}" for title, one in found.items())
    print(f"seconds: float64 {seconds:.1f}, {taken}")
    rhos = ", ".join(f"{title} {spearmanr(one[1], slopes).statistic:.5f}" for title, one in found.items())
    print(f"rho of the gradient norm: {rhos}\n")
    print(f"| n | h | median curvature | {' | '.join(found)} |\n|---|---|---|{'---|' * len(found)}")
    for n in (1, PROBES):
        for h in SCALES:
            exact = truth[h][:n].astype(np.float64).mean(axis=0)
            cells = []
            for norms, _, _ in found.values():
                values = norms[h][:n].astype(np.float64).mean(axis=0)
                there = exact > 0
                off = np.median(np.abs(values - exact)[there] / exact[there])
                cells.append(f"{off:.1e}, {spearmanr(values, exact).statistic:.5f}")
            print(f"| {n} | {h:g} | {np.median(exact):.3g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
