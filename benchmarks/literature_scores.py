"""What do the scores of the literature find, and what do they cost?

    python benchmarks/literature_scores.py WORK --seeds 0 1

The benchmark trains the digits with symmetric and with pair noise, in projects under WORK, with the
recipe of `scores_and_noise.py`, and computes all scores, the costly ones among them. It also compares them
with measured memorization, on the digits with the network and recipe of `memorization.py`, and so what
scores.csv calls rare or mislabelled. It writes the tables benchmarks/results/literature_scores. Existing
results are not computed again, so an interrupted command continues.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import memorization
import numpy as np
import pandas as pd
import scores_and_noise as base
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from memtrack.config import params
from memtrack.core.evaluation.detection import auroc
from memtrack.core.memorization import estimates
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.halves import Halves
from memtrack.core.scores.suspicion import MISLABELLED, RARE
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.halves import SplitTraining, halves_of
from memtrack.runs.networks import chosen_device
from memtrack.runs.trained import TrainedRun
from memtrack.runs.turn_over import TurnOverTraining
from memtrack.tune.trained_variant import TrainedVariant

RESULTS = Path(__file__).parent / "results" / "literature_scores"
NOISE = ("symmetric 10%", "pair 30%")
COMPARED = [name for name, score in SCORES.items() if not {Need.PRETRAINED, Need.TRAININGS} & {*score.needs}]
"""All scores but those that need another network's weights or stage averaged."""
MEMORIZED = ("true_labels", "symmetric_10")
"""The variants of `memorization.py` on which the scores are compared with memorization."""


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
            if missing := [name for name in COMPARED if name not in found]:
                file.write_text(json.dumps(found | measured(folder, variant, missing), indent=1))


def compare(work: Path, seeds: list[int], models: int) -> None:
    """Compute the agreement with memorization that is missing."""
    chosen = memorization.DATA["digits"]
    for seed in seeds:
        folder = work / f"memorization-{seed}"
        (folder / "data/raw").mkdir(parents=True, exist_ok=True)
        made = {
            "data": chosen["data"], "train": {**chosen["train"], "seed": seed},
            "variants": {
                name: {"labels": base.PREPARED, **memorization.VARIANTS[name]} for name in MEMORIZED
            },
            "record": {"epochs": {"kind": "every", "interval": 2}},
            "curvature": {"perturbation_scale": 0.03, "probes": 1, "seed": seed}, "evaluate": {},
            "memorization": {"models": models, "variants": list(MEMORIZED), "seed": seed},
        }  # fmt: skip
        (folder / "params.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
        if not (folder / "data/prepared/dataset.json").exists():
            base.stage(folder, "prepare")
        for variant in MEMORIZED:
            if not (folder / "results/memorization" / variant / "metrics.json").exists():
                for stage in ("corrupt", "train", "memorization"):
                    base.stage(folder, stage, variant)
            file = folder / f"{variant}.json"
            found = json.loads(file.read_text()) if file.exists() else {}
            if missing := [name for name in COMPARED if name not in found]:
                file.write_text(json.dumps(found | agreement(folder, variant, missing), indent=1))
            file = folder / f"{variant}-kinds.csv"
            if not file.exists():
                kinds_of(folder, variant).to_csv(file, index=False)


def kinds_of(folder: Path, variant: str) -> pd.DataFrame:
    """Each sample: its `memorization`, whether its label is `corrupted`, and its `kind` in scores.csv."""
    base.stage(folder, "evaluate", variant)
    measured, scores = (
        pd.read_csv(folder / f"results/{name}/{variant}/{file}.csv", dtype={"id": str})
        for name, file in (("memorization", "memorization"), ("evaluate", "scores"))
    )
    columns = ["memorization", "corrupted", "kind"]
    return measured[["id", "memorization"]].merge(scores[["id", "corrupted", "kind"]], on="id")[columns]


def agreement(folder: Path, variant: str, names: list[str]) -> dict[str, dict[str, float]]:
    """For each score its correlations with memorization."""
    table = pd.read_csv(folder / "results/memorization" / variant / "memorization.csv", dtype={"id": str})
    with chdir(folder):
        labels = VariantData(variant, PreparedData())
        measured = table.set_index("id")["memorization"][labels.ids].to_numpy()
        found = {}
        for name, _, values in values_of(labels, names):
            pearson, spearman = pearsonr(values, measured)[0], spearmanr(values, measured)[0]
            found[name] = {"pearson": float(pearson), "spearman": float(spearman)}
            print(f"{variant}, {name}: Pearson {pearson:.2f}, Spearman {spearman:.2f}", flush=True)
    return found


def measured(folder: Path, variant: str, names: list[str]) -> dict[str, dict[str, float]]:
    """For each score its AUROC and its cost beyond the training, in trainings without recording."""
    recorded = base.costs(folder, variant)
    with chdir(folder):
        training = training_seconds(variant)
        labels, found = VariantData(variant, PreparedData()), {}
        for name, seconds, values in values_of(labels, names):
            free = SCORES[name].needs == (Need.EPOCHS,)
            cost = base.cost(name, recorded) - 1 if free else seconds / training
            found[name] = {"auroc": auroc(labels.corrupted, values), "cost": cost}
            print(f"{variant}, {name}: AUROC {found[name]['auroc']:.3f}, cost {cost:.2f}", flush=True)
        return found


def values_of(labels: VariantData, names: Iterable[str]) -> Iterator[tuple[str, float, NDArray[np.float64]]]:
    """Each score, the seconds that it takes, and its values (N,), in the project in this folder."""
    loaded, data, variant = params.load(), PreparedData(), labels.name
    halves, halving = None, 0.0
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
        yield name, seconds + halving * (Need.HALVES in score.needs), values


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


def agreements(work: Path) -> Iterator[dict[str, Any]]:
    """A row for each variant, seed and score."""
    for folder in sorted(work.glob("memorization-*")):
        for variant in MEMORIZED:
            for score, found in json.loads((folder / f"{variant}.json").read_text()).items():
                yield {"variant": variant, "seed": folder.name[13:], "score": score, **found}


def kinds_table(work: Path) -> list[str]:
    """What the kinds of scores.csv say of samples whose memorization is known, as Markdown."""
    lines = ["| data | samples | of them a seed | called mislabelled | called rare | called neither |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for variant in MEMORIZED:
        files = sorted(work.glob(f"memorization-*/{variant}-kinds.csv"))
        table = pd.concat([pd.read_csv(file, keep_default_na=False) for file in files])
        wrong, memorized = table["corrupted"] == 1, table["memorization"].astype(float) > estimates.MEMORIZED
        groups = {
            "wrong labels": wrong,
            f"right labels, memorized (mem > {estimates.MEMORIZED})": ~wrong & memorized,
            "other right labels": ~wrong & ~memorized,
        }
        for name, rows in groups.items():
            if rows.any():
                shares = [f"{(table['kind'][rows] == kind).mean():.2f}" for kind in (MISLABELLED, RARE, "")]
                cells = [memorization.TITLES[variant], name, f"{rows.sum() / len(files):.0f}", *shares]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def report(work: Path, models: int) -> None:
    """Write the numbers as CSV and the table as Markdown."""
    found = pd.DataFrame(results(work))
    found.round(5).to_csv(RESULTS.with_suffix(".csv"), index=False)
    aurocs = found.groupby(["score", "noise"])["auroc"].agg(["mean", "std", "count"])
    costs = found.groupby("score")["cost"].mean()
    order = found.groupby("score")["auroc"].mean().sort_values(ascending=False).index
    agreed = pd.DataFrame(agreements(work))
    agreed.round(5).to_csv(RESULTS.with_name("literature_scores_agreement.csv"), index=False)
    near = agreed.groupby(["score", "variant"])[["pearson", "spearman"]].mean()
    titles = [f"mem, {memorization.TITLES[variant]}" for variant in MEMORIZED]
    lines = ["# What do the scores of the literature find, and what do they cost?", "",
             "Digits, AUROC; mean and standard deviation over the seeds if there are several. Cost: the time "
             "beyond the training, in trainings without recording; on a CPU the time of all its threads. "
             "Written by benchmarks/literature_scores.py.", "",
             "mem: the correlations, Pearson's and Spearman's, with measured memorization (Feldman & Zhang) "
             "on digits with the network and recipe of benchmarks/memorization.py, "
             f"{agreed['seed'].nunique()} seed(s) of {models} networks each.", "",
             "| score | cost | " + " | ".join((*NOISE, *titles)) + " |",
             "|---|---|" + "---|" * (len(NOISE) + len(titles))]  # fmt: skip
    for score in order:
        cells = []
        for noise in NOISE:
            mean, spread, count = aurocs.loc[(score, noise)]
            cells.append(f"{mean:.3f}" + (f" ± {spread:.3f}" if count > 1 else ""))
        for variant in MEMORIZED:
            pearson, spearman = near.loc[(score, variant)]
            cells.append(f"{pearson:.2f}, {spearman:.2f}")
        lines.append(f"| `{score}` | {costs[score]:.2f}x | " + " | ".join(cells) + " |")
    lines += ["", "## Mislabelled or rare?", "",
              "The `kind` in scores.csv of the samples whose memorization was measured, over the same seeds.",
              "", *kinds_table(work)]  # fmt: skip
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
    parser.add_argument(
        "--models", type=int, default=1000, help="networks that memorization is measured with"
    )
    options = parser.parse_args()
    run(options.work, options.seeds, options.epochs)
    compare(options.work, options.seeds, options.models)
    report(options.work, options.models)


if __name__ == "__main__":
    main()
