"""What the commands of this folder share: a project with the published settings, memtrack's stages, a table.

    python -m benchmarks.papers.garg2024 WORK --images FOLDER --device cuda    # as published
    python -m benchmarks.papers.garg2024 WORK --small                          # scikit-learn's digits

FOLDER holds train/CLASS/ and test/CLASS/. WORK/NAME is a project of memtrack: its params.yaml comes from
params/NAME.yaml, and its results are where those of every project are. An interrupted command goes on where
it was, and a second one with another `--only` adds variants. WORK/NAME/published.md holds published and
measured numbers side by side; `python -m benchmarks.papers.tables WORK/NAME ...` puts them into
docs/papers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import yaml

from memtrack.core.recording.trajectory import Trajectory
from memtrack.terminal.entry_point import entry_point

FOLDER = Path(__file__).parent
MEASURED = "published.json"
Numbers = Mapping[str, Mapping[str, float]]
"""For each variant, the measured numbers by name."""
SMALL: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "train": {
        "epochs": 30,
        "batch_size": 64,
        "model": {"kind": "cnn", "width": 16, "depth": 2},
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "augment": {"crop": 0, "flip": False},
    },
}
"""What the small version has instead; everything else is as published."""


@dataclass(frozen=True)
class Protocol:
    """A published experiment.

    Attributes:
        name: of the module and of the file in params/.
        title: heading of its table. source: where the numbers were published. cost: what it takes.
        table: the rows of the table, with a header, from the measured numbers.
        note: what differs from the publication, for the reader of the table.
    """

    name: str
    title: str
    source: str
    cost: str
    table: Callable[[Numbers], list[list[str]]]
    note: str = ""

    def markdown(self, measured: Numbers, settings: str) -> list[str]:
        """The section of this protocol, as lines."""
        header, *rows = self.table(measured)
        lines = [f"## {self.title}", "", f"{self.source} {self.note}".strip(), ""]
        lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += [
            "",
            settings,
            "",
            f"    python -m benchmarks.papers.{self.name} WORK --images FOLDER --device cuda",
            "",
        ]
        return [*lines, self.cost, ""]


def beside(published: float | str | None, measured: float | None) -> str:
    """A cell: the published number, then the measured one."""
    first = "-" if published is None else published if isinstance(published, str) else f"{published:.3f}"
    return f"{first} / {'not measured' if measured is None else f'{measured:.3f}'}"


def parameters(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The params.yaml of the project."""
    made: dict[str, Any] = yaml.safe_load((FOLDER / "params" / f"{name}.yaml").read_text())
    published = made["train"]["epochs"]
    if options.small:
        made["data"], made["train"] = SMALL["data"], {**made["train"], **SMALL["train"]}
        for variant in made["variants"].values():  # of 1,437 images too few would be wrong
            variant.update({"rate": max(variant["rate"], 0.02)} if "rate" in variant else {})
    else:
        made["data"]["root"] = str(options.images.resolve())
    if options.epochs:
        made["train"]["epochs"] = options.epochs
    epochs, schedule = made["train"]["epochs"], made["train"]["schedule"]
    schedule["milestones"] = [max(1, epoch * epochs // published) for epoch in schedule["milestones"]]
    interval = options.every or made["record"]["epochs"]["interval"]
    made["record"]["epochs"]["interval"] = min(interval, epochs)
    made["train"]["device"] = options.device
    return made


def stage(project: Path, name: str, *arguments: str) -> None:
    """Run a stage in a project; it ends this process if it fails."""
    command = [sys.executable, "-m", f"memtrack.stages.{name}", *arguments]
    ended = subprocess.run(command, cwd=project, env={**os.environ, "DVC_ROOT": ""})
    if ended.returncode:
        sys.exit(ended.returncode)


def measure(project: Path, chosen: Sequence[str], run_stage: Callable[..., object]) -> None:
    """Run the stages of the chosen variants. What is there already is not computed again."""
    (project / "data/raw").mkdir(parents=True, exist_ok=True)
    if not (project / "data/prepared/manifest.json").exists():
        run_stage(project, "prepare")
    for variant in chosen:
        print(f"--- {variant}", flush=True)
        for name in ("corrupt", "train", "evaluate"):
            run_stage(project, name, variant)


def measured(project: Path, variants: Sequence[str]) -> dict[str, dict[str, float]]:
    """The numbers of the variants that have run: AUROCs, accuracies, Gini coefficient of loss sensitivity."""
    found: dict[str, dict[str, float]] = {}
    for variant in variants:
        evaluated = project / "results/evaluate" / variant / "metrics.json"
        if not evaluated.exists():
            continue
        trained = project / "results/train" / variant
        numbers = json.loads((trained / "metrics.json").read_text())
        sensitivity = Trajectory(trained / "trajectory").mean("input_gradient_norm")
        found[variant] = {
            "train_accuracy": numbers["train_accuracy"],
            "test_accuracy": numbers["test_accuracy"],
            "gini": gini(sensitivity),
            **{name: score["auroc"] for name, score in json.loads(evaluated.read_text())["scores"].items()},
        }
    return found


def gini(values: np.ndarray[Any, Any]) -> float:
    """The Gini coefficient of values of at least 0: 0 if all are equal, near 1 if one has everything."""
    ordered = np.sort(values)
    shares = np.cumsum(ordered) / ordered.sum()
    return float(1 - (2 * shares.sum() - 1) / len(ordered))


def settings(options: argparse.Namespace, made: Mapping[str, Any]) -> str:
    """What was run, in a sentence."""
    train, curvature = made["train"], made["curvature"]
    model = train["model"].get("name", train["model"]["kind"])
    what = "the small version, scikit-learn's digits" if options.small else "the images of the folder"
    return (
        f"Measured on {what}: {model}, {train['epochs']} epochs, every {_ordinal(made)}"
        f"recorded, h = {curvature['perturbation_scale']:g}, n = {curvature['probes']}, device "
        f"{options.device}, one seed."
    )


def _ordinal(made: Mapping[str, Any]) -> str:
    interval = made["record"]["epochs"]["interval"]
    return "one " if interval == 1 else f"{interval}{'nd' if interval == 2 else 'th'} one "


def options_from(arguments: Sequence[str] | None, doc: str | None) -> argparse.Namespace:
    """Read the command line; without a GPU it is the small version unless the images are named."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the project")
    parser.add_argument("--images", type=Path, help="the folder with train/CLASS/ and test/CLASS/")
    parser.add_argument("--small", action="store_true", help="scikit-learn's digits and a small network")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    parser.add_argument("--epochs", type=int, help="fewer epochs; the learning rate falls at the same shares")
    parser.add_argument("--every", type=int, help="record every k-th epoch")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="run only these variants")
    options = parser.parse_args(arguments)
    if not options.small and options.images is None:
        if torch.cuda.is_available():
            parser.error("name the images with --images, or ask for the --small version")
        options.small = True
    return options


def run(
    protocol: Protocol, arguments: Sequence[str] | None = None, run_stage: Callable[..., object] = stage
) -> Path:
    """Run a protocol; the table's file. `run_stage` takes a project, the name of a stage, its arguments."""
    options = options_from(arguments, sys.modules[__name__].__doc__)
    made = parameters(protocol.name, options)
    unknown = set(options.only or ()) - set(made["variants"])
    if unknown:
        sys.exit(f"--only {' '.join(sorted(unknown))}: the variants are {', '.join(made['variants'])}")
    project = options.work / protocol.name
    project.mkdir(parents=True, exist_ok=True)
    told = settings(options, made)
    kept = project / "params.yaml"
    text = yaml.safe_dump(made, sort_keys=False)
    if kept.exists() and kept.read_text() != text:
        sys.exit(f"{kept} has other settings: name another WORK, or remove {project}")
    kept.write_text(text)
    print(f"{protocol.title}. {'The small version on digits.' if options.small else 'As published.'}")
    measure(project, options.only or list(made["variants"]), run_stage)
    numbers = measured(project, list(made["variants"]))
    (project / MEASURED).write_text(json.dumps({"settings": told, "measured": numbers}, indent=1))
    table = project / "published.md"
    table.write_text("\n".join(protocol.markdown(numbers, told)))
    print(table.read_text())
    return table


def command(protocol: Protocol) -> Callable[[], None]:
    """The entry point of a module."""

    @entry_point
    def main() -> None:
        run(protocol)

    return main
