"""What do the scores of the literature find, and what do they cost?

    python benchmarks/literature_scores.py WORK --seeds 0 1

The benchmark trains the digits with symmetric and with pair noise, in projects under WORK, with the
recipe of `scores_and_noise.py`, and computes all scores, the costly ones among them. It writes the table
benchmarks/results/literature_scores. Existing results are not computed again, so an interrupted command
continues.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scores_and_noise as base
import torch
import yaml
from numpy.typing import NDArray

from memtrack.config import params
from memtrack.core.evaluation.detection import auroc
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.halves import Halves
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.halves import SplitTraining, halves_of
from memtrack.runs.networks import chosen_device
from memtrack.runs.trained import TrainedRun
from memtrack.runs.turn_over import TurnOverTraining
from memtrack.tune.trained_variant import TrainedVariant

RESULTS = Path(__file__).parent / "results" / "literature_scores"
NOISE = ("symmetric 10%", "pair 30%")


def run(work: Path, seeds: list[int], epochs: int | None) -> None:
    """Compute the results that are missing."""
    for seed in seeds:
        folder = work / f"digits-{seed}"
        (folder / "data/raw").mkdir(parents=True, exist_ok=True)
        made = base.parameters("digits", seed, None)
        made["variants"] = {base.slug(noise): made["variants"][base.slug(noise)] for noise in NOISE}
        made["evaluate"] = {}
        made["train"]["epochs"] = epochs or made["train"]["epochs"]
        (folder / "params.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
        if not (folder / "data/prepared/dataset.json").exists():
            base.stage(folder, "prepare")
        for variant in made["variants"]:
            if not (folder / "results/train" / variant / "metrics.json").exists():
                base.stage(folder, "corrupt", variant)
                base.stage(folder, "train", variant)
            file = folder / f"{variant}.json"
            found = json.loads(file.read_text()) if file.exists() else {}
            if missing := [name for name in SCORES if name not in found]:
                file.write_text(json.dumps(found | measured(folder, variant, missing), indent=1))


def measured(folder: Path, variant: str, names: list[str]) -> dict[str, dict[str, float]]:
    """For each score its AUROC and its cost beyond the training, in trainings without recording."""
    recorded = base.costs(folder, variant)
    with chdir(folder):
        training = training_seconds(variant)
        loaded, data = params.load(), PreparedData()
        labels = VariantData(variant, data)
        found, halves, halving = {}, None, 0.0
        if any(Need.HALVES in SCORES[name].needs for name in names):
            halving, halves = timed(partial(of_halves, loaded, data, labels))
        for name in names:
            score = SCORES[name]
            # a new one for each score, so that none finds the neighbours of another
            trained = TrainedRun(loaded, data, labels, Path("results/train") / variant, f"train@{variant}")
            if Need.TURN_OVER in score.needs:
                seconds, values = timed(partial(turned_over, loaded, data, labels))
            else:
                seconds, values = timed(partial(computed, trained, name, halves))
            seconds += halving * (Need.HALVES in score.needs)
            cost = base.cost(name, recorded) - 1 if score.needs == (Need.EPOCHS,) else seconds / training
            found[name] = {"auroc": auroc(labels.corrupted, values), "cost": cost}
            print(f"{variant}, {name}: AUROC {found[name]['auroc']:.3f}, cost {cost:.2f}", flush=True)
        return found


def computed(trained: TrainedRun, name: str, halves: Halves | None) -> NDArray[np.float64]:
    """A score of a training, (N,)."""
    return compute(name, {**trained.evidence([name]), Need.HALVES: halves})


def of_halves(loaded: params.Params, data: PreparedData, labels: VariantData) -> Halves:
    """Train on each half of the samples, and then on the other one."""
    halves = halves_of(labels, loaded.halves.seed)
    loss, forgotten = np.zeros((2, len(labels.ids)))
    probabilities = np.zeros((len(labels.ids), len(data.info.classes)))
    for own, other in (halves, halves[::-1]):
        training = SplitTraining(loaded, data, labels, own, other, chosen_device(loaded.train))
        for epoch in range(1, training.epochs + 1):
            training.run_epoch(epoch)
        loss[other], forgotten[own] = training.holdout_loss, training.forgotten
        probabilities[other] = training.probabilities()
    return Halves(loss, probabilities, labels.given, forgotten)


def turned_over(loaded: params.Params, data: PreparedData, labels: VariantData) -> NDArray[np.float64]:
    """Train with turn-over dropout; the score, (N,)."""
    training = TurnOverTraining(loaded, data, labels, chosen_device(loaded.train), loaded.halves.seed)
    for epoch in range(1, loaded.train.epochs + 1):
        training.run_epoch(epoch)
    return training.self_influence()


def training_seconds(variant: str) -> float:
    """The seconds of a training without recording, from some epochs of a plain loop."""
    loaded = params.load()
    trained = TrainedVariant(loaded, variant, loaded.recorded_epochs())
    model = trained.model(loaded.train.epochs).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches = list(trained.batches(loaded.train.batch_size))

    def epoch() -> None:
        for inputs, labels in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    return loaded.train.epochs * float(np.median([timed(epoch)[0] for _ in range(4)][1:]))


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a job takes, and its result. On a CPU they are those of all its threads, which other
    programs on the machine do not change."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    result = job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start, result


def results(work: Path) -> Iterator[dict[str, Any]]:
    """A row for each kind of noise, seed and score."""
    for folder in sorted(work.glob("digits-*")):
        for noise in NOISE:
            file = folder / f"{base.slug(noise)}.json"
            if file.exists():
                for score, found in json.loads(file.read_text()).items():
                    yield {"noise": noise, "seed": folder.name[7:], "score": score, **found}


def report(work: Path) -> None:
    """Write the numbers as CSV and the table as Markdown."""
    found = pd.DataFrame(results(work))
    found.round(5).to_csv(RESULTS.with_suffix(".csv"), index=False)
    aurocs = found.groupby(["score", "noise"])["auroc"].agg(["mean", "std", "count"])
    costs = found.groupby("score")["cost"].mean()
    order = found.groupby("score")["auroc"].mean().sort_values(ascending=False).index
    lines = ["# What do the scores of the literature find, and what do they cost?", "",
             "Digits, AUROC; mean and standard deviation over the seeds if there are several. Cost: the time "
             "beyond the training, in trainings without recording; on a CPU the time of all its threads. "
             "Written by benchmarks/literature_scores.py.", "",
             "| score | cost | " + " | ".join(NOISE) + " |", "|---|---|" + "---|" * len(NOISE)]  # fmt: skip
    for score in order:
        cells = []
        for noise in NOISE:
            mean, spread, count = aurocs.loc[(score, noise)]
            cells.append(f"{mean:.3f}" + (f" ± {spread:.3f}" if count > 1 else ""))
        lines.append(f"| `{score}` | {costs[score]:.2f}x | " + " | ".join(cells) + " |")
    RESULTS.with_suffix(".md").write_text("\n".join([*lines, ""]))
    print(f"{RESULTS.with_suffix('.md')}: {len(found)} results")


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="the folder for the projects")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="seeds of noise, network and probes"
    )
    parser.add_argument("--epochs", type=int, help="epochs of the trainings; default: 30")
    options = parser.parse_args()
    run(options.work, options.seeds, options.epochs)
    report(options.work)


if __name__ == "__main__":
    main()
