"""What does curvature cost, and how well does it find corrupted labels? By h, n, epochs and combination.

Run in a project whose stage train@NAME has run with record.checkpoints: all,

    python benchmarks/cost_and_quality.py record NAME FOLDER   # every epoch, h and probe: hours
    python benchmarks/cost_and_quality.py time NAME FOLDER     # seconds of training and of sweeps: minutes

and then, for any number of these folders,

    python benchmarks/cost_and_quality.py report FOLDER ... --out benchmarks/results

`record` continues where it was stopped. All points of the report come from one training per data set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from memtrack.config import params
from memtrack.config.paths import TRAIN_RESULTS
from memtrack.core.recording.curvature import ForwardDifference, rademacher_probe
from memtrack.core.recording.eval_mode import folded, frozen_eval, loss_gradient
from memtrack.core.recording.recorder import fastest_batch_size, record_epoch
from memtrack.core.training import trainer as training
from memtrack.core.training.augmentation import Augmentation
from memtrack.data.batches import Batches, variant_batches
from memtrack.data.manifest import MANIFEST
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.checkpoints import Checkpoints, trained_network
from memtrack.runs.networks import network
from memtrack.terminal.progress import Progress

Floats = NDArray[np.floating]
SCALES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
PROBES = (1, 2, 5, 10)
PAPER = {"h": 1e-3, "n": 10, "epochs": "every", "combined": "mean"}
DEFAULT = {"h": 0.03, "n": 1, "epochs": "every 2nd", "combined": "mean"}
SCHEDULES: dict[str, Callable[[int], list[int]]] = {
    "every": lambda last: list(range(1, last + 1)),
    "every 2nd": lambda last: list(range(2, last + 1, 2)),
    "every 3rd": lambda last: list(range(3, last + 1, 3)),
    "every 4th": lambda last: list(range(4, last + 1, 4)),
    "every 5th": lambda last: list(range(5, last + 1, 5)),
    "every 10th": lambda last: list(range(10, last + 1, 10)),
    "first half": lambda last: list(range(1, last // 2 + 1)),
    "first quarter": lambda last: list(range(1, last // 4 + 1)),
    "second half": lambda last: list(range(last // 2 + 1, last + 1)),
    "second half, every 2nd": lambda last: list(range(last // 2 + 2, last + 1, 2)),
    "geometric 1.5": lambda last: sorted({min(round(1.5**k), last) for k in range(20)}),
    "geometric 2": lambda last: sorted({min(2**k, last) for k in range(20)}),
    "last": lambda last: [last],
}
COMBINED: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda values: values.mean(axis=0),
    "median": lambda values: np.median(values, axis=0),
    "mean of log": lambda values: np.log(values + 1e-12).mean(axis=0),
    "mean of ranks": lambda values: rankdata(values, axis=1).mean(axis=0),
    "mean of scaled": lambda values: (values / values.mean(axis=1, keepdims=True)).mean(axis=0),
    "maximum": lambda values: values.max(axis=0),
}


class Trained:
    """A trained variant: its data, its labels and the network after every epoch."""

    def __init__(self, name: str) -> None:
        self.params = params.load()
        self.data = PreparedData()
        self.variant = VariantData(name, self.data)
        self.checkpoints = Checkpoints(TRAIN_RESULTS / name / "checkpoints")
        self.epochs = range(1, self.params.train.epochs + 1)
        self.labels = torch.from_numpy(self.variant.given)
        self.fingerprint = TRAIN_RESULTS / name / "checkpoints" / MANIFEST

    def model(self, epoch: int | None = None) -> nn.Module:
        """The network after an epoch; None: an untrained network."""
        train, info = self.params.train, self.data.info
        if epoch is None:
            return network(train.model, info)
        return trained_network(train, info, self.checkpoints, epoch, remedy="train the variant again")

    def batches(self, size: int) -> Batches:
        return variant_batches(self.data, self.variant, batch_size=size, device=torch.device("cpu"))


def own_probes(shape: tuple[int, ...], start: int, count: int, epoch: int, probe: int) -> Tensor:
    """A separate probe for each of the samples start, start + 1, ...; (count, *shape).

    The generator is counter-based: the numbers depend on (epoch, probe, sample), not on the batch.
    """
    size = int(np.prod(shape))
    words = -(-size // 64)
    bits = np.random.PCG64([0, epoch, probe, 1]).advance(start * words).random_raw(count * words)
    signs = np.unpackbits(bits.view(np.uint8).reshape(count, -1), axis=1)[:, :size].astype(np.float32) * 2 - 1
    return torch.from_numpy(signs).view(count, *shape)


def record(name: str, folder: Path, shared: dict[float, int], own: dict[float, int]) -> None:
    """Write an .npz file for each epoch. For each h it holds the curvature from each single probe, (n, N).

    Args:
        shared: the number of probes at each h that all samples share.
        own: the number of probes at each h that each sample has for itself.
    """
    torch.set_num_threads(1)
    project = Trained(name)
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / MANIFEST
    if known.exists() and known.read_bytes() != project.fingerprint.read_bytes():
        raise SystemExit(f"{folder} holds recordings of another training: choose a new folder")
    known.write_bytes(project.fingerprint.read_bytes())
    count = len(project.labels)
    for epoch in Progress(project.epochs, f"record {name}"):
        file = folder / f"epoch_{epoch:04d}.npz"
        if file.exists():
            continue
        model = project.model(epoch)
        arrays: dict[str, Floats] = {
            f"shared_{h}": np.zeros((n, count), np.float32) for h, n in shared.items()
        }
        arrays |= {f"own_{h}": np.zeros((n, count), np.float32) for h, n in own.items()}
        arrays["base"] = np.zeros((3, count), np.float32)  # loss, margin, gradient norm
        shape = project.data.info.shape
        probes = [rademacher_probe(shape, seed=0, epoch=epoch, probe=number) for number in range(max(PROBES))]
        start = 0
        with frozen_eval(model):
            network = folded(model, torch.zeros(1, *shape)) or model
            for images, labels in project.batches(64):
                rows = slice(start, start + len(labels))
                images = images.contiguous(memory_format=torch.channels_last)
                logits, gradient = loss_gradient(network, images, labels)
                others = logits.scatter(1, labels[:, None], -torch.inf).max(1).values
                margin = logits.gather(1, labels[:, None])[:, 0] - others
                loss = nn.functional.cross_entropy(logits, labels, reduction="none")
                arrays["base"][:, rows] = torch.stack([loss, margin, gradient.flatten(1).norm(dim=1)])
                for kind, wanted in (("shared", shared), ("own", own)):
                    for (h, _n), number in ((item, k) for item in wanted.items() for k in range(item[1])):
                        probe = probes[number] if kind == "shared" else own_probes(
                            shape, start, len(labels), epoch, number)  # fmt: skip
                        _, moved = loss_gradient(network, images + h * probe, labels)
                        length = (moved - gradient).flatten(1).norm(dim=1) / h
                        arrays[f"{kind}_{h}"][number, rows] = length
                start += len(labels)
        part = folder / "part.npz"
        np.savez(part, corrupted=project.variant.corrupted, given=project.variant.given, **arrays)
        part.replace(file)


def measure(name: str, folder: Path, rounds: int) -> None:
    """Write times.json: seconds of a training epoch and of a sweep at each n; medians of alternate rounds."""
    project = Trained(name)
    train, last = project.params.train, project.epochs[-1]
    model, swept = project.model(), project.model(last)
    fit = project.batches(train.batch_size)
    trainer = training.Trainer(
        model, optimizer=train.optimizer.model_dump(), schedule=train.schedule.model_dump(),
        augment=Augmentation(train.augment.crop, train.augment.flip),
        epochs=rounds + 1, steps=len(fit), seed=0,
    )  # fmt: skip
    tried = next(iter(project.batches(256 * torch.get_num_threads())))
    batch = fastest_batch_size(swept, *tried, ForwardDifference(0.1))
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        jobs: dict[str, Callable[[], object]] = {
            "train": lambda: trainer.run_epoch(number + 1, fit.shuffled(seed=0, epoch=number))  # noqa: B023
        }
        for n in PROBES:
            jobs[str(n)] = lambda n=n: [
                None for _ in record_epoch(swept, project.batches(batch), ForwardDifference(0.1, n), epoch=1)
            ]
        for job, function in jobs.items():
            start = time.perf_counter()
            function()
            if number:  # the first round warms up
                seconds.setdefault(job, []).append(time.perf_counter() - start)
    medians = {job: statistics.median(taken) for job, taken in seconds.items()}
    found = {"batch": batch, "threads": torch.get_num_threads(), "rounds": rounds, "seconds": medians}
    (folder / "times.json").write_text(json.dumps(found, indent=2) + "\n")
    print(found)


def points(folder: Path) -> Iterator[dict[str, object]]:
    """The cost in trainings and the AUROC of every combination of settings on a data set."""
    files = sorted(folder.glob("epoch_*.npz"))
    epochs = [dict(np.load(file)) for file in files]
    seconds = json.loads((folder / "times.json").read_text())["seconds"]
    corrupted, last = epochs[0]["corrupted"], len(epochs)

    def point(
        name: str, values: Floats, schedule: str, combined: str, n: int, **more: object
    ) -> dict[str, object]:
        chosen = SCHEDULES[schedule](last)
        score = COMBINED[combined](values[[epoch - 1 for epoch in chosen]].astype(np.float64))
        sweeps = len(chosen) * seconds[str(n)] / (last * seconds["train"])
        found = {"data": folder.name, "score": name, "n": n, "epochs": schedule, "combined": combined}
        return {**found, **more, "cost": 1 + sweeps, "auroc": roc_auc_score(corrupted, score)}

    for kind, h in itertools.product(("shared", "own"), SCALES):
        if any(f"{kind}_{h}" not in epoch for epoch in epochs):
            continue
        arrays = [epoch[f"{kind}_{h}"] for epoch in epochs]
        single = np.stack([array[: min(map(len, arrays))] for array in arrays])
        for n in (n for n in PROBES if n <= single.shape[1]):
            for norm, power in (("plain", 1), ("squared", 2)):
                values = (single[:, :n] ** power).mean(axis=1)
                for schedule, combined in itertools.product(SCHEDULES, COMBINED):
                    if SCHEDULES[schedule](last):
                        yield point(f"curvature ({kind})", values, schedule, combined, n, h=h, norm=norm)
    for row, (name, sign) in enumerate((("loss", 1), ("margin", -1), ("gradient norm", 1))):
        values = sign * np.stack([epoch["base"][row] for epoch in epochs])
        yield point(name, values, "every", "mean", 1)


def report(folders: list[Path], out: Path) -> None:
    """Write all points as a table, print good settings, and draw the picture."""
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([row for folder in folders for row in points(folder)])
    table.round(4).to_csv(out / "cost_and_quality.csv.gz", index=False)
    curvature = table[(table["score"] == "curvature (shared)") & (table["norm"] == "plain")]
    settings = ["h", "n", "epochs", "combined"]
    auroc = curvature.pivot(index=settings, columns="data", values="auroc")
    cost = curvature.pivot(index=settings, columns="data", values="cost")
    recipe = tuple(PAPER.values())
    paper = auroc.loc[recipe]
    for what, setting in (("the paper's recipe", PAPER), ("memtrack's default", DEFAULT)):
        chosen = tuple(setting.values())
        found = pd.DataFrame({"auroc": auroc.loc[chosen], "cost": cost.loc[chosen]})
        print(f"{what}, {setting}:\n{found.round(4)}\n")
    enough = (auroc.dropna() >= paper - 0.003).all(axis=1)
    good = pd.concat({"cost": cost, "auroc": auroc}, axis=1).loc[enough[enough].index]
    good[("worst cost", "")] = cost.loc[good.index].max(axis=1)
    print("settings within .003 of the paper's recipe on all data, the cheapest first:")
    print(good.sort_values(("worst cost", "")).head(20).round(4).to_string(), "\n")
    print("other scores:\n", table[table["score"].isin(["loss", "margin", "gradient norm"])]
          .pivot(index="score", columns="data", values="auroc").round(4).to_string())  # fmt: skip
    draw(curvature, table, paper, out / "cost_and_quality.png")


def draw(curvature: pd.DataFrame, table: pd.DataFrame, paper: pd.Series, path: Path) -> None:
    """Draw AUROC against cost: a line over n for each h and choice of epochs; other scores as levels."""
    names = list(paper.index)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 4.5 * rows), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    colours = dict(zip(SCALES, plt.get_cmap("viridis")(np.linspace(0, 0.95, len(SCALES))), strict=True))
    markers = {"every": "o", "every 2nd": "s", "every 5th": "^", "geometric 2": "v"}
    for axis, name in zip(axes.flat, names, strict=False):
        here = curvature[(curvature["data"] == name) & (curvature["combined"] == "mean")]
        for h, colour in colours.items():
            for schedule, marker in markers.items():
                line = here[(here["h"] == h) & (here["epochs"] == schedule)].sort_values("cost")
                axis.plot(line["cost"], line["auroc"], marker=marker, ms=5, lw=0.7, color=colour)
        for settings, style in ((PAPER, "r*"), (DEFAULT, "kD")):
            point = here[np.logical_and.reduce([here[key] == value for key, value in settings.items()])]
            axis.plot(point["cost"], point["auroc"], style, ms=15 if style == "r*" else 11, mfc="none", mew=2)
        for score, dashes in (("loss", ":"), ("margin", "-."), ("gradient norm", "--")):
            value = table[(table["data"] == name) & (table["score"] == score)]["auroc"].item()
            axis.axhline(value, color="grey", ls=dashes, lw=1)
        low = max(here["auroc"].min(), paper[name] - 0.06)
        axis.set(title=name, xscale="log", xlabel="cost, in plain trainings", ylabel="AUROC")
        axis.set_ylim(low, None)
        axis.set_xticks([1, 1.25, 1.5, 2, 3, 4], ["1", "1.25", "1.5", "2", "3", "4"], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
    line = plt.Line2D
    handles = [line([], [], color=colour, label=f"h = {h:g}") for h, colour in colours.items()]
    handles += [line([], [], color="k", ls="", marker=m, ms=5, label=s) for s, m in markers.items()]
    handles += [line([], [], color="r", ls="", marker="*", ms=12, mfc="none", label="the paper's recipe")]
    handles += [line([], [], color="k", ls="", marker="D", ms=9, mfc="none", label="memtrack's default")]
    handles += [line([], [], color="grey", ls=":", label="mean loss, every epoch")]
    handles += [line([], [], color="grey", ls="-.", label="mean margin, every epoch")]
    handles += [line([], [], color="grey", ls="--", label="mean gradient norm, every epoch")]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("record", "time"):
        sub = commands.add_parser(command)
        sub.add_argument("name", help="the variant")
        sub.add_argument("folder", type=Path)
    commands.choices["record"].add_argument(
        "--short", action="store_true", help="ten probes at h = .001, one or two at other h"
    )
    commands.choices["time"].add_argument("--rounds", type=int, default=5)
    sub = commands.add_parser("report")
    sub.add_argument("folders", nargs="+", type=Path)
    sub.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    match options.command:
        case "record":
            shared, own = dict.fromkeys(SCALES, 10), dict.fromkeys((0.001, 0.01, 0.1), 2)
            if options.short:
                shared, own = {1e-4: 1, 1e-3: 10, 0.01: 2, 0.03: 2, 0.1: 2, 0.3: 2, 1.0: 1}, {0.1: 2}
            record(options.name, options.folder, shared, own)
        case "time":
            measure(options.name, options.folder, options.rounds)
        case "report":
            report(options.folders, options.out)


if __name__ == "__main__":
    main()
