"""How fast is a training with memtrack, compared with a plain PyTorch loop?

    python benchmarks/training_speed.py                    # small networks, on this CPU
    python benchmarks/training_speed.py --device cuda      # ResNet-18

The plain loop is what a good engineer would write for this network: all images on the device, channels-last
on a GPU, the same precision, batch, optimizer, crop and flip, and no waiting for the device within an epoch.
Both train the same network on the same images. The rounds alternate, and a ratio is the median over the
rounds.

`epoch` is an epoch of memtrack's training alone. `stage` is all that stage `train` does but MLflow: training,
the accuracy on the test split, checkpoints, states that training resumes from, and a sweep with one probe
every second epoch. The plain loop does nothing of this.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from memtrack.config.params import Params
from memtrack.config.sections.data import Digits
from memtrack.config.sections.variants import NoNoise
from memtrack.core.training import models
from memtrack.core.training.devices import pick_device
from memtrack.core.training.distributed import ALONE
from memtrack.core.training.precision import training_precision
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.runs.fingerprint import recording_fingerprint, training_fingerprint
from memtrack.runs.fitting import Fitting
from memtrack.runs.networks import chosen_precision
from memtrack.runs.together import Together
from memtrack.runs.training import Training
from memtrack.runs.work_folder import WorkFolder

SHAPE, CLASSES, CROP = (3, 32, 32), 10, 4


@dataclass(frozen=True)
class Case:
    """A network and how it is trained, on how many images. swept: the batch size of the sweep."""

    name: str
    model: dict[str, Any]
    images: int
    batch: int
    swept: int
    precision: str = "auto"
    deterministic: bool = True
    compile: bool = False

    def params(self, epochs: int) -> Params:
        """The parameter file."""
        return Params.model_validate(
            {
                "data": {"kind": "digits", "root": "."},
                "variants": {"clean": {"kind": "none", "labels": "data/prepared"}},
                "train": {
                    "epochs": epochs,
                    "batch_size": self.batch,
                    "model": self.model,
                    "optimizer": {"kind": "sgd", "lr": 0.05},
                    "schedule": {"kind": "cosine"},
                    "augment": {"crop": CROP, "flip": True},
                    "precision": self.precision,
                    "deterministic": self.deterministic,
                    "compile": self.compile,
                },
                "record": {"epochs": {"kind": "every", "interval": 2}, "batch_size": self.swept},
                "curvature": {"perturbation_scale": 0.03, "probes": 1},
            }
        )


RESNET = {"kind": "torchvision", "name": "resnet18"}
CPU_CASES = [
    Case("CNN 16-32", {"kind": "cnn", "width": 16, "depth": 2}, 4000, 64, 64),
    Case("ResNet-18", RESNET, 256, 32, 32),
]
GPU_CASES = [
    Case("ResNet-18, auto", RESNET, 50_000, 128, 2048),
    Case("ResNet-18, auto", RESNET, 50_000, 512, 2048),
    Case("ResNet-18, auto, not deterministic", RESNET, 50_000, 128, 2048, deterministic=False),
    Case("ResNet-18, auto, not deterministic", RESNET, 50_000, 512, 2048, deterministic=False),
    Case("ResNet-18, tf32", RESNET, 50_000, 128, 2048, precision="tf32"),
    Case("ResNet-18, float32", RESNET, 20_000, 128, 512, precision="float32"),
    Case("ResNet-18, auto, compiled", RESNET, 50_000, 128, 2048, compile=True),
]


class PlainLoop:
    """Training without memtrack."""

    def __init__(self, case: Case, images: Tensor, labels: Tensor, device: torch.device) -> None:
        options = {name: value for name, value in case.model.items() if name != "kind"}
        if case.model["kind"] == "torchvision":
            options.setdefault("small_stem", True)
        else:
            options.setdefault("dropout", 0.0)
        self.model = models.build(case.model["kind"], SHAPE, CLASSES, **options).to(device)
        self.network: Any = self.model
        self.device, self.batch = device, case.batch
        self.precision = chosen_precision(case.params(1).train, device)
        form = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self.model.to(memory_format=form)
        if case.compile:
            self.network = torch.compile(self.model)
        inputs = (images.to(device).float() / 255 - 0.5) / 0.25
        self.padded = pad(inputs, [CROP] * 4).contiguous(memory_format=form)
        self.labels, self.form = labels.to(device), form
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4,
            fused=True if device.type == "cuda" else None,
        )  # fmt: skip

    def epoch(self) -> None:
        """Train on every image once."""
        self.model.train()
        height, width = SHAPE[1:]
        total = torch.zeros((), device=self.device)
        with training_precision(self.precision, self.device):
            for rows in torch.randperm(len(self.labels), device=self.device).split(self.batch):
                down, right = (torch.randint(2 * CROP + 1, (len(rows), 1), device=self.device) for _ in "xy")
                y = (down + torch.arange(height, device=self.device))[:, :, None]
                x = right + torch.arange(width, device=self.device)
                x = torch.where(torch.rand(len(rows), 1, device=self.device) < 0.5, x.flip(1), x)
                cut = self.padded.permute(0, 2, 3, 1)[rows[:, None, None], y, x[:, None, :]]
                inputs = cut.permute(0, 3, 1, 2).contiguous(memory_format=self.form)
                loss = cross_entropy(self.network(inputs), self.labels[rows])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                total += loss.detach()
        float(total)


@contextlib.contextmanager
def project(case: Case) -> Iterator[tuple[PreparedData, VariantData, Tensor, Tensor]]:
    """A folder with prepared random images and a variant, as the current directory."""
    draw = np.random.default_rng(0)
    count = case.images + 2 * CLASSES
    images = draw.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    classes = [str(number) for number in range(CLASSES)]
    labels = [classes[number % CLASSES] for number in range(count)]
    splits = ["train"] * case.images + ["test"] * (2 * CLASSES)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            ids = [f"{number:06d}" for number in range(count)]
            collected = Collected(ids, labels, splits, tuple(classes), images)
            write_prepared(collected, Digits(kind="digits", root="."), Path("data/prepared"))
            data = PreparedData()
            write_variant("clean", NoNoise(kind="none", labels="data/prepared"), data)
            variant = VariantData("clean", data)
            kept = torch.from_numpy(images[: case.images])
            yield data, variant, kept, torch.from_numpy(variant.given)
        finally:
            os.chdir(before)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the work takes, until the device has done it."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def stage_seconds(case: Case, data: PreparedData, variant: VariantData, device: torch.device) -> float:
    """Seconds of an epoch of the stage, from a training of four epochs of which two are recorded."""
    params = case.params(4)
    training = training_fingerprint(params, data, variant, device)
    with WorkFolder.claimed(
        "clean", training, recording_fingerprint(params, training), variant.ids
    ) as folder:
        network = Together(params, data, variant, device, ALONE)
        stage = Training(params, variant, device, network, folder, Path("results/train/clean"))
        stage.prepare()
        return seconds(lambda: stage.run([]), device) / 4


def measure(case: Case, device: torch.device, rounds: int) -> str:
    """A row of the table."""
    with project(case) as (data, variant, images, labels):
        params = case.params(2 * rounds + 2)
        fitting, plain = Fitting(params, data, variant, device), PlainLoop(case, images, labels, device)
        fitting.run_epoch(1)
        plain.epoch()
        ratios, rates = [], []
        for number in range(rounds):
            bare = seconds(plain.epoch, device)
            ours = seconds(lambda epoch=number + 2: fitting.run_epoch(epoch), device)
            ratios.append(bare / ours)
            rates.append((case.images / bare, case.images / ours))
        plain_rate, rate = (statistics.median(values) for values in zip(*rates, strict=True))
        with_all = case.images / stage_seconds(case, data, variant, device)
    return (
        f"| {case.name}, batch {case.batch} | {plain.precision} | {plain_rate:,.0f} | {rate:,.0f} | "
        f"{statistics.median(ratios):.2f} | {with_all:,.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    print("| images a second | precision | plain loop | epoch | epoch / plain | stage |")
    print("|---|---|---|---|---|---|")
    for case in GPU_CASES if device.type == "cuda" else CPU_CASES:
        print(measure(case, device, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
