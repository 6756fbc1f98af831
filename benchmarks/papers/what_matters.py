"""What decides how well curvature finds wrong labels in a network that has fitted all of them?

    python -m benchmarks.papers.what_matters WORK --images FOLDER --device cuda --minutes 4
    python -m benchmarks.papers.what_matters WORK --images FOLDER --network small --size 16 --count 3000

Trains one network on images with wrong labels until it fits them, keeps its weights after every epoch, and
sweeps them with several h, numbers of probes and precisions. WORK/results.md compares these, which epochs
count, and how epochs are combined. The published training is the default, with fewer epochs and images:
learning rate 0.1, divided by 10 after 60% and 90% of the epochs, weight decay 1e-4, batch 128, crop and flip.

All wrong and as many right samples are swept at most (`--judged`), so an AUROC is an estimate from these.
FOLDER holds train/CLASS/*.jpg, or MNIST/raw as torchvision lays it out. The most important sweeps come first;
when the minutes are over, the results have what was measured. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from memtrack.core.labels.noise import symmetric
from memtrack.core.recording.curvature import rademacher_probe
from memtrack.core.recording.eval_mode import folded, frozen_eval, loss_gradient
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.models.torchvision import torchvision_model
from memtrack.core.training.optimizers import build_optimizer, build_schedule
from memtrack.terminal.progress import Progress

Floats = NDArray[np.floating[Any]]
Key = tuple[str, int, int]
"""A set of sweeps: the precision, the number of probes, the number of scales."""
SCALES = (1e-3, 3e-3, 0.01, 0.03, 0.1)
PROBES = 10
FEW = 6
COMBINED: dict[str, Callable[[Floats, Floats], Floats]] = {
    "mean": lambda values, _: values.mean(axis=0),
    "mean of squares": lambda values, _: (values**2).mean(axis=0),
    "mean of logs": lambda values, _: _logs(values).mean(axis=0),
    "mean of ranks": lambda values, _: rankdata(values, axis=1).mean(axis=0),
    "ranks, weighted by the loss": lambda values, loss: loss @ rankdata(values, axis=1),
    "ranks, weighted by the root of the loss": lambda values, loss: np.sqrt(loss) @ rankdata(values, axis=1),
    "logs, weighted by the loss": lambda values, loss: loss @ _logs(values),
    "ranks until the peak of the mean": lambda values, _: rankdata(_to_peak(values), axis=1).mean(axis=0),
    "mean, each epoch divided by its mean": lambda values, _: _scaled(values, np.mean),
    "mean, each epoch divided by its median": lambda values, _: _scaled(values, np.median),
    "median": lambda values, _: np.median(values, axis=0),
    "maximum": lambda values, _: values.max(axis=0),
}
"""How the curvatures (T, J) of the epochs are combined; the second argument is their mean loss (T,)."""


SHOWN = ("mean", "mean of ranks", "ranks, weighted by the root of the loss")


def _logs(values: Floats) -> Floats:
    return np.log(np.maximum(values, 1e-30))


def _scaled(values: Floats, level: Callable[..., Floats]) -> Floats:
    return (values / np.maximum(level(values, axis=1, keepdims=True), 1e-30)).mean(axis=0)


def _to_peak(values: Floats) -> Floats:
    return values[: values.mean(axis=1).argmax() + 1]


# --- the data -------------------------------------------------------------------------------------------


def decode(job: tuple[Path, int]) -> NDArray[np.uint8]:
    """One image as (channels, size, size)."""
    path, size = job
    with Image.open(path) as image:
        colour = image.convert("RGB")
        resized = colour if colour.size == (size, size) else colour.resize((size, size), Image.Resampling.BOX)
    return np.moveaxis(np.asarray(resized), 2, 0)


def read_images(
    folder: Path, split: str, count: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images (count, channels, size, size) in an order that is always the same, and their labels."""
    order = np.random.Generator(np.random.PCG64(0))
    if (folder / "MNIST").exists():
        from torchvision.datasets import MNIST

        source = MNIST(str(folder), train=split == "train", download=False)
        chosen = order.permutation(len(source))[:count]
        images = [
            Image.fromarray(source.data[i].numpy()).resize((size, size), Image.Resampling.BOX) for i in chosen
        ]
        return np.stack([np.asarray(image)[None] for image in images]), source.targets.numpy()[chosen].astype(
            np.int64
        )
    classes = sorted(path.name for path in (folder / split).iterdir() if path.is_dir())
    paths = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / split / name).iterdir())
    ]
    chosen = order.permutation(len(paths))[:count]
    with ProcessPoolExecutor() as pool:
        decoded = pool.map(decode, [(paths[i][0], size) for i in chosen], chunksize=256)
        images = list(Progress(decoded, f"reading {split} images", len(chosen)))
    return np.stack(images), np.array([paths[i][1] for i in chosen], dtype=np.int64)


class Data:
    """The images on the device, normalized, with their given labels; the samples that are judged."""

    def __init__(self, options: argparse.Namespace) -> None:
        device = torch.device(options.device)
        images, self.clean = read_images(options.images, "train", options.count, options.size)
        test, test_labels = read_images(options.images, "test", 2000, options.size)
        self.given = symmetric(self.clean, classes=10, rate=options.noise, seed=options.seed)
        wrong = np.flatnonzero(self.given != self.clean)
        right = np.random.Generator(np.random.PCG64(1)).permutation(np.flatnonzero(self.given == self.clean))
        wrong = wrong[: options.judged // 2]
        self.judged = np.sort(np.concatenate([wrong, right[: options.judged - len(wrong)]]))
        self.corrupted = (self.given != self.clean)[self.judged]
        pixels = torch.from_numpy(images).to(device).float() / 255
        mean, deviation = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)

        # a small network trains faster on a CPU if images are stored plainly
        self.layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format

        def ready(values: Tensor) -> Tensor:
            return ((values - mean) / deviation).contiguous(memory_format=self.layout)

        self.inputs = ready(pixels)
        self.labels = torch.from_numpy(self.given).to(device)
        self.test = ready(torch.from_numpy(test).to(device).float() / 255)
        self.test_labels = torch.from_numpy(test_labels).to(device)


# --- the network ----------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.shortcut = nn.Conv2d(before, after, 1, stride) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(inner)) + self.shortcut(x))


def small_resnet(channels: int, width: int) -> nn.Module:
    """A ResNet of eight layers for a CPU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Residual(width, width, 1), Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10),
    )  # fmt: skip


def network(options: argparse.Namespace, channels: int) -> nn.Module:
    """The untrained network on the device."""
    torch.manual_seed(options.seed)
    if options.network == "small":
        model = small_resnet(channels, options.width)
    else:
        model = torchvision_model(
            (channels, options.size, options.size), 10, name=options.network, small_stem=True
        )
    return model.to(options.device)


def train(data: Data, options: argparse.Namespace) -> None:
    """Train to the end, or on from the last tenth that was done, and keep the weights after every epoch."""
    device = data.inputs.device
    model = network(options, data.inputs.shape[1]).to(memory_format=data.layout)
    steps = -(-len(data.inputs) // options.batch)
    optimizer = build_optimizer(model, "sgd", lr=options.lr, momentum=0.9, weight_decay=options.weight_decay)
    more = {"step": {"milestones": [int(0.6 * options.epochs), int(0.9 * options.epochs)], "factor": 0.1},
            "one_cycle": {"warmup": 0.25}}  # fmt: skip
    schedule = build_schedule(
        optimizer, options.schedule, epochs=options.epochs, steps=steps, **more.get(options.schedule, {})
    )
    folder, state, first = options.work / "checkpoints", options.work / "state.pt", 1
    folder.mkdir(parents=True, exist_ok=True)
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first = saved["epoch"] + 1
    augment = Augmentation(0, False) if options.plain else Augmentation(options.size // 8, True)
    progress = Progress(range(first, options.epochs + 1), "training")
    torch.backends.cudnn.benchmark = True
    for epoch in progress:
        generator = torch.Generator().manual_seed(1000 * options.seed + epoch)
        order = torch.randperm(len(data.inputs), generator=generator).to(device)
        total = torch.zeros((), device=device)
        model.train()
        for rows in order.split(options.batch):
            inputs = augment(data.inputs[rows], generator).contiguous(memory_format=data.layout)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = cross_entropy(model(inputs), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(rows)
        progress.note(loss=float(total) / len(data.inputs))
        torch.save(model.state_dict(), folder / f"epoch_{epoch:04}.pt")
        if epoch % max(1, options.epochs // 10) == 0 or epoch == options.epochs:
            parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
            torch.save({"epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}, state)


# --- the sweeps -----------------------------------------------------------------------------------------


def sweep(
    model: nn.Module, data: Data, scales: Sequence[float], probes: int, epoch: int, precision: str
) -> dict[str, Floats]:
    """The recorded numbers of the judged samples (J,), and for each h the norms of the probes (probes, J)."""
    device = data.inputs.device
    kind = torch.float64 if precision == "float64" else torch.float32
    rows = torch.from_numpy(data.judged).to(device)
    inputs, labels = data.inputs[rows].to(kind), data.labels[rows]
    model = model.to(kind).eval()
    directions = [
        rademacher_probe(inputs.shape[1:], seed=0, epoch=epoch, probe=number).to(inputs)
        for number in range(probes)
    ]
    network = (folded(model, inputs) if device.type == "cpu" else None) or model
    arithmetic: Any = "float32" if precision == "float64" else precision

    def work(batch: tuple[Tensor, Tensor]) -> dict[str, Floats]:
        x, y = batch[0].contiguous(memory_format=torch.channels_last), batch[1]
        logits, gradient = loss_gradient(network, x, y, arithmetic)
        own = logits.gather(1, y[:, None]).squeeze(1)
        others = logits.scatter(1, y[:, None], -torch.inf).max(1).values
        found = {
            "loss": cross_entropy(logits, y, reduction="none"),
            "margin": own - others,
            "error_norm": (logits.softmax(1) - one_hot(y, 10)).norm(dim=1),
            "input_gradient_norm": gradient.flatten(1).norm(dim=1),
        }
        for h in scales:
            moved = [loss_gradient(network, x + h * v, y, arithmetic)[1] - gradient for v in directions]
            found[f"h={h:g}"] = torch.stack([difference.flatten(1).norm(dim=1) / h for difference in moved])
        return {name: values.cpu().numpy().astype(np.float64) for name, values in found.items()}

    size = 64 if device.type == "cpu" else 1024
    batches = list(zip(inputs.split(size), labels.split(size), strict=True))
    threads = torch.get_num_threads()
    with frozen_eval(model, arithmetic):
        if device.type == "cpu":
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                parts = list(pool.map(work, batches))
            torch.set_num_threads(threads)
        else:
            parts = [work(batch) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def plan(options: argparse.Namespace) -> Iterator[tuple[str, int, tuple[float, ...], int]]:
    """What to sweep, the most important first: (precision, n, scales, epoch)."""
    many = list(range(options.every, options.epochs + 1, options.every))
    many.sort(key=lambda epoch: -math.gcd(epoch, 8 * options.every))  # coarse to fine
    few = sorted({max(1, round(epoch)) for epoch in np.linspace(options.epochs / FEW, options.epochs, FEW)})
    others = [precision for precision in options.precisions if precision != options.precision]
    yield from ((options.precision, 1, SCALES, epoch) for epoch in many)
    yield from ((precision, 1, SCALES, epoch) for epoch in few for precision in (options.precision, *others))
    yield from ((options.precision, PROBES, SCALES, epoch) for epoch in few)
    yield from ((options.precision, PROBES, SCALES[:1], epoch) for epoch in many)


def file_of(work: Path, precision: str, probes: int, scales: Sequence[float], epoch: int) -> Path:
    """Where a sweep is kept."""
    return work / "sweeps" / f"{precision}_n{probes}_h{len(scales)}" / f"epoch_{epoch:04}.npz"


def sweep_all(data: Data, options: argparse.Namespace, deadline: float) -> None:
    """Sweep what is missing, until the time is over; and the accuracies after the epochs that are swept."""
    model = network(options, data.inputs.shape[1]).to(memory_format=data.layout)
    jobs = [job for job in plan(options) if not _path(options, job).exists()]
    for job in Progress(jobs, "sweeps"):
        precision, probes, scales, epoch = job
        if time.monotonic() > deadline:
            print("the time is over: the same command measures the rest")
            return
        path = _path(options, job)
        if path.exists():
            continue
        weights = torch.load(
            options.work / f"checkpoints/epoch_{epoch:04}.pt", map_location=options.device, weights_only=True
        )
        model.float().load_state_dict(weights)
        found = sweep(model, data, scales, probes, epoch, precision)
        if (precision, probes) == (options.precision, 1):
            found["test_accuracy"] = np.array(accuracy(model, data.test, data.test_labels))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path.with_suffix(".part.npz"), **found)
        path.with_suffix(".part.npz").rename(path)


def _path(options: argparse.Namespace, job: tuple[str, int, tuple[float, ...], int]) -> Path:
    precision, probes, scales, epoch = job
    return file_of(options.work, precision, probes, scales, epoch)


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        right = [
            (model.eval()(x).argmax(1) == y).sum()
            for x, y in zip(inputs.split(1000), labels.split(1000), strict=True)
        ]
    return float(sum(right)) / len(inputs)


# --- the results ----------------------------------------------------------------------------------------


class Results:
    """What was swept, and the tables from it."""

    def __init__(self, data: Data, options: argparse.Namespace) -> None:
        self.options, self.corrupted = options, data.corrupted
        self.found: dict[Key, dict[int, dict[str, Floats]]] = {}
        for precision, probes, scales, epoch in plan(options):
            path = file_of(options.work, precision, probes, scales, epoch)
            if path.exists():
                with np.load(path) as arrays:
                    self.found.setdefault((precision, probes, len(scales)), {})[epoch] = dict(arrays)
        self.rows: list[dict[str, Any]] = []

    def auroc(self, values: Floats) -> float:
        return float(roc_auc_score(self.corrupted, np.nan_to_num(values, posinf=1e30)))

    def curvature(self, key: Key, h: float, epochs: Sequence[int], probes: int = 1) -> Floats:
        """The curvature (T, J) with the first `probes` probes."""
        return np.stack([self.found[key][epoch][f"h={h:g}"][:probes].mean(axis=0) for epoch in epochs])

    def combined(self, how: str, key: Key, h: float, epochs: Sequence[int], n: int = 1) -> float:
        """The AUROC of the curvature at h, combined over these epochs. Their loss is that of all samples."""
        share = np.where(self.corrupted, self.options.noise, 1 - self.options.noise)
        share /= np.where(self.corrupted, self.corrupted.mean(), (~self.corrupted).mean())
        loss = np.array([(self.found[key][epoch]["loss"] * share).mean() for epoch in epochs])
        return self.auroc(COMBINED[how](self.curvature(key, h, epochs, n), loss))

    def line(self, table: str, cells: dict[str, Any]) -> None:
        self.rows.append({"table": table, **cells})

    def compute(self) -> None:
        main = (self.options.precision, 1, len(SCALES))
        if main not in self.found:
            return
        records, epochs = self.found[main], sorted(self.found[main])
        fitted = {epoch: float((records[epoch]["margin"] > 0)[self.corrupted].mean()) for epoch in epochs}
        for epoch in epochs:
            record = records[epoch]
            self.line("By epoch (n = 1)", {
                "epoch": epoch,
                "wrong labels fitted": fitted[epoch],
                "right labels fitted": float((record["margin"] > 0)[~self.corrupted].mean()),
                "test accuracy": float(record["test_accuracy"]),
                "median loss": float(np.median(record["loss"])),
                "AUROC loss": self.auroc(record["loss"]),
                "gradient norm": self.auroc(record["input_gradient_norm"]),
                **{f"h = {h:g}": self.auroc(record[f"h={h:g}"][0]) for h in SCALES},
            })  # fmt: skip
        choices = {
            "all": epochs,
            "every 2nd": epochs[1::2],
            "every 4th": epochs[3::4],
            "every 8th": epochs[7::8],
            "first half": epochs[: len(epochs) // 2],
            "second half": epochs[len(epochs) // 2 :],
            "less than half of the wrong labels fitted": [epoch for epoch in epochs if fitted[epoch] < 0.5],
            "between 10% and 90% fitted": [epoch for epoch in epochs if 0.1 <= fitted[epoch] <= 0.9],
            "more than 99% fitted": [epoch for epoch in epochs if fitted[epoch] > 0.99],
        }
        for (name, chosen), how in itertools.product(choices.items(), COMBINED):
            if chosen and (how in SHOWN or name in ("all", "every 4th")):
                cells = {f"h = {h:g}": self.combined(how, main, h, chosen) for h in SCALES}
                self.line("Which epochs, and how they are combined (n = 1)",
                          {"epochs": f"{name} ({len(chosen)})", "combined": how, **cells})  # fmt: skip
        for name, chosen in choices.items():
            if chosen:
                means = {quantity: np.mean([records[epoch][quantity] for epoch in chosen], axis=0)
                         for quantity in ("loss", "margin", "error_norm", "input_gradient_norm")}  # fmt: skip
                self.line("Scores that cost less", {
                    "epochs": f"{name} ({len(chosen)})", "csl": self.auroc(means["loss"]),
                    "aum": self.auroc(-means["margin"]), "el2n": self.auroc(means["error_norm"]),
                    "gradient norm": self.auroc(means["input_gradient_norm"]),
                })  # fmt: skip
        self._probes()
        self._precisions()

    def _probes(self) -> None:
        paper, one = (self.options.precision, PROBES, 1), (self.options.precision, 1, len(SCALES))
        if paper in self.found:
            epochs = sorted(set(self.found[paper]) & set(self.found[one]))
            for n, how in itertools.product((1, 2, 5, PROBES), COMBINED):
                if how in SHOWN:
                    value = self.combined(how, paper, SCALES[0], epochs, n)
                    self.line(f"n at h = {SCALES[0]:g}, all epochs ({len(epochs)})",
                              {"n": n, "combined": how, "AUROC": value})  # fmt: skip
        few = (self.options.precision, PROBES, len(SCALES))
        if few in self.found:
            epochs = sorted(self.found[few])
            for n, how in itertools.product((1, 2, 5, PROBES), SHOWN):
                cells = {f"h = {h:g}": self.combined(how, few, h, epochs, n) for h in SCALES}
                self.line(
                    f"n, few epochs ({', '.join(map(str, epochs))})", {"n": n, "combined": how, **cells}
                )

    def _precisions(self) -> None:
        exact = next(
            (p for p in ("float64", "float32") if (p, 1, len(SCALES)) in self.found), self.options.precision
        )
        for precision in self.options.precisions:
            key, reference = (precision, 1, len(SCALES)), (exact, 1, len(SCALES))
            if key not in self.found:
                continue
            epochs = sorted(set(self.found[key]) & set(self.found[reference]))
            few = [epoch for epoch in epochs if epoch in self.found[reference]]
            for epoch in few if precision != exact else []:
                cells = {f"h = {h:g}": float(spearmanr(self.curvature(key, h, [epoch])[0],
                                                       self.curvature(reference, h, [epoch])[0]).statistic)
                         for h in SCALES}  # fmt: skip
                self.line(f"Precision: Spearman's rho with {exact}, by epoch (n = 1)",
                          {"epoch": epoch, "precision": precision, **cells})  # fmt: skip
            for how in SHOWN:
                cells = {f"h = {h:g}": self.combined(how, key, h, few) for h in SCALES}
                self.line(f"Precision: AUROC, few epochs ({', '.join(map(str, few))}; n = 1)",
                          {"precision": precision, "combined": how, **cells})  # fmt: skip

    def write(self) -> None:
        """Write results.md and results.json."""
        self.compute()
        told = {
            name: str(value) for name, value in vars(self.options).items() if name not in ("work", "images")
        }
        count = f"{int(self.corrupted.sum())} wrong and {int((~self.corrupted).sum())} right labels"
        text = ["# What decides how well curvature finds wrong labels?", "",
                ", ".join(f"{name} {value}" for name, value in told.items()) + ".", "",
                f"AUROC of finding the wrong labels, from {count} unless it says otherwise."]  # fmt: skip
        for table in dict.fromkeys(row["table"] for row in self.rows):
            rows = [row for row in self.rows if row["table"] == table]
            kept = [{name: cell for name, cell in row.items() if name != "table"} for row in rows]
            text += ["", f"## {table}", "", "| " + " | ".join(kept[0]) + " |", "|" + "---|" * len(kept[0])]
            for row in kept:
                cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row.values()]
                text.append(f"| {' | '.join(cells)} |")
        (self.options.work / "results.md").write_text("\n".join(text) + "\n")
        (self.options.work / "results.json").write_text(
            json.dumps({"settings": told, "rows": self.rows}, indent=1)
        )
        print(f"{self.options.work / 'results.md'}: {len(self.rows)} rows")


def options_from(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="the folder for weights, sweeps and results")
    parser.add_argument(
        "--images", type=Path, required=True, help="the folder with train/ and test/, or MNIST/"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=1e9, help="no sweep starts after this time")
    parser.add_argument("--count", type=int, default=22_000, help="training images")
    parser.add_argument("--size", type=int, default=32, help="images are resized to this side")
    parser.add_argument(
        "--judged", type=int, default=3000, help="samples that are swept, at most half of them wrong"
    )
    parser.add_argument("--noise", type=float, default=0.1, help="share of wrong labels (symmetric)")
    parser.add_argument("--network", default="resnet18", help="`small`, or a name of torchvision")
    parser.add_argument("--width", type=int, default=16, help="width of the small network")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--schedule", default="step", choices=["step", "one_cycle", "cosine", "constant"])
    parser.add_argument("--plain", action="store_true", help="without crop and flip")
    parser.add_argument("--every", type=int, default=1, help="sweep every k-th epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", help="of most sweeps; default: tf32 on a GPU, else float32")
    parser.add_argument("--precisions", nargs="+", help="the precisions that are compared")
    parser.add_argument("--report", action="store_true", help="only write the tables, from existing sweeps")
    options = parser.parse_args(arguments)
    on_gpu = torch.device(options.device).type == "cuda"
    options.precision = options.precision or ("tf32" if on_gpu else "float32")
    options.precisions = options.precisions or (["float32", "tf32", "bfloat16"] if on_gpu else ["float32"])
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, sweep, report."""
    start = time.monotonic()
    options = options_from(arguments)
    data = Data(options)
    if not options.report:
        train(data, options)
        print(f"trained after {time.monotonic() - start:.0f} s")
        sweep_all(data, options, start + 60 * options.minutes)
    Results(data, options).write()


if __name__ == "__main__":
    main()
