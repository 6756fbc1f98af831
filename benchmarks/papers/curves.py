"""Real data against noise in one picture: the learning curves of Zhang et al. (ICLR 2017, figure 1a), and the
critical samples and the effect of dropout of Arpit et al. (ICML 2017, sections 4 and 5).

    python -m benchmarks.papers.curves WORK --images FOLDER --device cuda    # the settings of zhang2017.yaml
    python -m benchmarks.papers.curves WORK --small                          # scikit-learn's digits

It trains in projects under WORK, as the other commands of this folder do, and writes WORK/curves.png, or
docs/pictures/noise_curves.png with `--keep`. An interrupted command goes on where it was. Dropout is for the
small network alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from benchmarks.papers import zhang2017
from benchmarks.papers.protocol import options_from, parameters, stage
from memtrack.config import params
from memtrack.core.scores.critical_sample_ratio import critical_boxes
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.trained_networks import TrainedNetworks

PICTURE = Path(__file__).parents[2] / "docs/pictures/noise_curves.png"
RADIUS = 0.2
"""Half the side of the box around a sample, in units of the normalized input."""
DROPOUT = ("true_labels", "random_labels")
"""The variants that are trained with dropout, too."""
COLOURS = ("#4477aa", "#cc3311", "#228833", "#ccbb44", "#aa3377")


def trained(project: Path, made: Mapping[str, Any], run_stage: Callable[..., object]) -> None:
    """Train on the variants of a project, as far as this is not done."""
    (project / "data/raw").mkdir(parents=True, exist_ok=True)
    kept, text = project / "params.yaml", yaml.safe_dump(dict(made), sort_keys=False)
    if kept.exists() and kept.read_text() != text:
        sys.exit(f"{kept} has other settings: name another WORK, or remove {project}")
    kept.write_text(text)
    if not (project / "data/prepared/manifest.json").exists():
        run_stage(project, "prepare")
    for variant in made["variants"]:
        for name in ("corrupt", "train"):
            run_stage(project, name, variant)


def histories(project: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The variants of a project, and the history of the training on each."""
    for variant in yaml.safe_load((project / "params.yaml").read_text())["variants"]:
        yield variant, pd.read_csv(project / "results/train" / variant / "history.csv")


def critical_shares(project: Path) -> pd.DataFrame:
    """The share of training samples within RADIUS of which the predicted class changes: a row for each
    recorded epoch, a column for each variant."""
    file = project / "critical.csv"
    if not file.exists():
        with chdir(project):
            loaded, data, found = params.load(), PreparedData(), {}
            for name in loaded.variants:
                epochs, folder = loaded.recorded_epochs(), Path("results/train") / name / "checkpoints"
                networks = TrainedNetworks(loaded, data, VariantData(name, data), folder, epochs, "train")
                found[name] = {
                    epoch: (critical_boxes(model, networks.batches(), [RADIUS]) > 0).mean()
                    for epoch, model in zip(epochs, networks.models(), strict=True)
                }
        pd.DataFrame(found).rename_axis("epoch").to_csv(file)
    return pd.read_csv(file, index_col="epoch")


def draw(plain: Path, dropout: Path | None, path: Path) -> None:
    """Draw the picture."""
    titles = {name: row[0].partition(",")[0] for name, row in zhang2017.PUBLISHED.items()}
    colours = dict(zip(titles, COLOURS, strict=True))
    figure, (loss, critical, share) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for name, history in histories(plain):
        loss.plot(history["epoch"], history["train_loss"], color=colours[name], label=titles[name])
        if name in DROPOUT:
            share.plot(history["epoch"], history["train_accuracy"], color=colours[name])
    for name, history in histories(dropout) if dropout is not None else ():
        share.plot(history["epoch"], history["train_accuracy"], ":", color=colours[name])
    shares = critical_shares(plain)
    for name in shares:
        critical.plot(shares.index, shares[name], ".-", color=colours[name])
    loss.set(xlabel="epoch", ylabel="training loss", title="Noise is fitted, later")
    critical.set(xlabel="epoch", ylabel=f"critical samples (share), r = {RADIUS}", ylim=(-0.03, 1.03))
    critical.set_title("Noise needs more boundaries")
    share.set(xlabel="epoch", ylabel="training accuracy", ylim=(-0.03, 1.03))
    share.set_title("Dropout (dotted) hinders noise")
    figure.legend(loc="outside lower center", ncols=len(titles), frameon=False)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def run(arguments: list[str] | None = None, run_stage: Callable[..., object] = stage) -> Path:
    """Train what is missing and draw; the picture's file. `run_stage` is as in `protocol.run`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--keep", action="store_true")
    own, others = parser.parse_known_args(arguments)
    options = options_from(others, __doc__)
    made = parameters("zhang2017", options)
    if options.only:
        made["variants"] = {name: made["variants"][name] for name in options.only}
    plain, dropout = options.work / "curves", None
    trained(plain, made, run_stage)
    if options.small:
        dropout = options.work / "curves_dropout"
        train = {**made["train"], "model": {**made["train"]["model"], "dropout": 0.5}}
        variants = {name: made["variants"][name] for name in DROPOUT if name in made["variants"]}
        trained(dropout, {**made, "train": train, "variants": variants}, run_stage)
    path = PICTURE if own.keep else options.work / "curves.png"
    draw(plain, dropout, path)
    print(path)
    return path


if __name__ == "__main__":
    run()
