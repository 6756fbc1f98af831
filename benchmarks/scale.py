"""How long does every step after training take with up to a million samples, and how much memory?

    python benchmarks/scale.py WORK                    # 10,000, 100,000 and 1,000,000 samples
    python benchmarks/scale.py WORK --largest 100000   # without the last

The samples are synthetic: 8x8 images of ten classes, of which 10% have a wrong label, a trajectory of ten
recorded epochs, 16 scores, memorization of all samples, and 500 networks with as many test samples as a
fifth of the samples. Each step runs in a process of its own, so its peak memory is that of the step with all
that it reads. Where a step has replaced another algorithm, that one runs in the same process on a part of the
work, and the ratio of the two is written. All inputs and results are kept in WORK, so an interrupted command
continues. It writes the table benchmarks/results/scale.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from memtrack.config.json_files import write_json
from memtrack.config.sections.data import Digits
from memtrack.config.sections.duplicates import DuplicatesParams
from memtrack.config.sections.variants import InstanceDependent, Symmetric
from memtrack.core.evaluation import agreement, detection
from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.core.labels.duplicates import Pair, digests, exact_pairs, near_pairs, thumbnails
from memtrack.core.memorization.estimates import (
    INFLUENTIAL,
    MEMORIZED,
    SURE,
    Counts,
    influence,
    influential_pairs,
)
from memtrack.core.memorization.subsets import subset
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.neighbours import COUNT, MANY
from memtrack.core.scores.telling_epochs import VOTING
from memtrack.data.corruption import write_variant
from memtrack.data.image_cache import CHUNK
from memtrack.data.image_quality import image_issues
from memtrack.data.manifest import write_manifest
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.report.agreement import AgreementReport
from memtrack.report.duplicates import draw_conflicts, duplicate_table
from memtrack.report.evaluation import Evaluation
from memtrack.report.memorization import MemorizationReport
from memtrack.report.sample_tables import TABLE, read_scores, write_csv
from memtrack.runs.trained_networks import others

RESULTS = Path(__file__).parent / "results" / "scale"
VARIANT, CLASSES, EPOCHS, NETWORKS, SHARE = "noisy", 10, 10, 500, 0.7
NAMES = [name for name, score in SCORES.items() if score.needs == (Need.EPOCHS,)]
NAMES += ["curvature_epochs_1_5", "csl_epochs_1_5", "aum_epochs_6_10"][: 16 - len(NAMES)]
HOW = Resampling(1000, 0.95, 0)
Values = NDArray[np.float64]
STEPS: dict[str, Callable[[int], Mapping[str, Any]]] = {}
"""The steps by name, in order. Each takes N, and returns its seconds and what else is written about it."""


def step(name: str) -> Callable[[Callable[[int], Mapping[str, Any]]], Callable[[int], Mapping[str, Any]]]:
    def register(function: Callable[[int], Mapping[str, Any]]) -> Callable[[int], Mapping[str, Any]]:
        STEPS[name] = function
        return function

    return register


def seconds(job: Callable[[], object]) -> float:
    """The seconds of all cores that a job takes, its processes included: other jobs hardly change them."""
    start = os.times()
    job()
    return sum(os.times()[:4]) - sum(start[:4])


def measured(job: Callable[[], object]) -> dict[str, float]:
    """The seconds of a job by all cores and by the clock, and the peak memory of the process till then."""
    start = time.perf_counter()
    taken = seconds(job)
    return {
        "seconds": taken,
        "clock": time.perf_counter() - start,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


class SyntheticTrajectory(EpochArrays):
    """Ten epochs in which the loss of samples with a wrong label stays high, made when they are asked for."""

    def __init__(self, given: NDArray[np.int64], corrupted: NDArray[np.bool_]) -> None:
        self.given, self.corrupted = given, corrupted
        draw = np.random.default_rng(1)
        self.hardness = draw.normal(size=len(given)) + 2.0 * corrupted

    @property
    def epochs(self) -> tuple[int, ...]:
        return tuple(range(1, EPOCHS + 1))

    def load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        draw = np.random.default_rng([epoch, len(quantity)])
        hard = self.hardness + draw.normal(size=len(self.given)) - epoch / 3
        probability = 1 / (1 + np.exp(hard))
        match quantity:
            case "predicted":
                return np.where(hard > 0, (self.given + 1) % CLASSES, self.given).astype(np.int32)
            case "correct":
                found = (hard <= 0).astype(np.float64)
            case "loss":
                found = -np.log(np.maximum(probability, 1e-30))
            case "probability" | "error_norm":
                found = probability if quantity == "probability" else math.sqrt(2) * (1 - probability)
            case "margin":
                found = -hard
            case _:
                found = np.exp(hard)
        return found.astype(np.float32)


@cache
def variant() -> VariantData:
    return VariantData(VARIANT, PreparedData())


def trajectory() -> SyntheticTrajectory:
    return SyntheticTrajectory(variant().given, variant().corrupted)


@cache
def scores() -> dict[str, Values]:
    return {name: np.load(f"{name}.npy") for name in NAMES}


def memorization() -> Values:
    hardness = trajectory().hardness
    return 1 / (1 + np.exp(3 - 1.5 * hardness)) + np.random.default_rng(2).normal(0, 0.02, len(hardness))


@step("prepare")
def prepare(samples: int) -> Mapping[str, Any]:
    draw = np.random.default_rng(0)
    count = samples + samples // 5
    labels = draw.integers(0, CLASSES, count)
    images = draw.integers(0, 60, (count, 1, 8, 8), dtype=np.uint8)
    images += (draw.integers(0, 190, (CLASSES, 1, 8, 8), dtype=np.uint8))[labels]
    copied = draw.choice(count - 1, count // 100, replace=False)
    images[copied + 1] = images[copied]
    collected = Collected(
        ids=[f"{row:07d}" for row in range(count)],
        labels=[str(label) for label in labels],
        splits=["train" if row < samples else "test" for row in range(count)],
        classes=tuple(map(str, range(CLASSES))),
        images=images,
    )
    params = Digits(kind="digits", root="data/raw")
    return measured(lambda: write_prepared(collected, params, Path("data/prepared")))


@step("corrupt, symmetric")
def corrupt(samples: int) -> Mapping[str, Any]:
    data, params = PreparedData(), Symmetric(kind="symmetric", labels="data/prepared", rate=0.1)
    return measured(lambda: write_variant(VARIANT, params, data))


@step("corrupt, instance-dependent")
def corrupt_by_instance(samples: int) -> Mapping[str, Any]:
    data = PreparedData()
    params = InstanceDependent(kind="instance_dependent", labels="data/prepared", rate=0.1)
    return measured(lambda: write_variant("other", params, data))


@step("evaluate: 16 scores of 10 epochs")
def compute_scores(samples: int) -> Mapping[str, Any]:
    evidence = {Need.EPOCHS: trajectory()}

    def all_scores() -> None:
        for name in NAMES:
            np.save(f"{name}.npy", compute(name, evidence))

    return measured(all_scores)


@step("evaluate: AUROC, intervals, differences")
def aurocs(samples: int) -> Mapping[str, Any]:
    corrupted, found = variant().corrupted, scores()
    taken = measured(lambda: detection.compare(corrupted, found, HOW.confidence))
    few = 3
    before = seconds(lambda: bootstrapped_aurocs(corrupted, list(found.values()), few))
    return {**taken, "before": before * HOW.resamples / few}


def bootstrapped_aurocs(corrupted: NDArray[np.bool_], scored: Sequence[Values], resamples: int) -> Values:
    """What memtrack did before: the AUROC of each score on the same resamples, (resamples, scores)."""
    draw = np.random.default_rng(0)
    levels = [np.unique(values, return_inverse=True)[1] for values in scored]
    strata = np.flatnonzero(corrupted), np.flatnonzero(~corrupted)
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([some[draw.integers(0, len(some), len(some))] for some in strata])
        weights = np.bincount(rows, minlength=len(corrupted)).astype(float)
        areas = []
        for level in levels:
            positives = np.bincount(level, weights * corrupted)
            negatives = np.bincount(level, weights * ~corrupted)
            areas.append(positives @ (np.cumsum(negatives) - negatives / 2))
        drawn.append(np.array(areas) / len(strata[0]) / len(strata[1]))
    return np.array(drawn)


def evaluation() -> Evaluation:
    found = variant()
    kinds = np.full(len(found.given), "", dtype=object)
    return Evaluation(found, trajectory(), scores(), found.given, 0.9, HOW.confidence, kinds)


@step("evaluate: scores.csv")
def score_table(samples: int) -> Mapping[str, Any]:
    found = evaluation()
    taken = measured(lambda: write_csv(found.score_table(), Path("scores.csv")))
    part = found.score_table().head(10_000)
    before, now = (
        seconds(lambda: part.to_csv("part.csv", index=False)),
        seconds(lambda: write_csv(part, Path("part.csv"))),
    )
    return {**taken, "before": taken["seconds"] * before / now}


@step("evaluate: the other tables")
def tables(samples: int) -> Mapping[str, Any]:
    found = evaluation()
    return measured(lambda: (found.class_table(), found.roc_table))


@step("evaluate: all tables and pictures")
def evaluate(samples: int) -> Mapping[str, Any]:
    found, folder = evaluation(), Path("evaluate")
    folder.mkdir(exist_ok=True)

    def report() -> None:
        found.write(folder)
        write_json(found.metrics, folder / "metrics.json")
        write_manifest(folder, found.variant.causes, {TABLE: folder / TABLE})

    return measured(report)


@step("read scores.csv (agreement, duplicates)")
def read(samples: int) -> Mapping[str, Any]:
    return measured(lambda: read_scores(Path("evaluate"), variant(), variant().causes))


@step("agreement: measures, intervals, differences")
def agree(samples: int) -> Mapping[str, Any]:
    found, truth = scores(), memorization()
    taken = measured(lambda: agreement.agreements(found, truth, HOW))
    few = 2
    before = seconds(lambda: [bootstrapped_agreement(found, truth, seed) for seed in range(few)])
    return {**taken, "before": before * HOW.resamples / few}


def bootstrapped_agreement(scored: Mapping[str, Values], truth: Values, seed: int) -> list[list[float]]:
    """What memtrack did before, for one resample: all measures of all scores, written out."""
    rows = np.random.default_rng(seed).integers(0, len(truth), len(truth))
    true = truth[rows]
    true_ranks, memorized = rankdata(true), true > MEMORIZED
    count, top = int(memorized.sum()), round(agreement.TOP * len(true))
    first = np.zeros(len(true), dtype=bool)
    first[np.argsort(-true)[:top]] = True
    found = []
    for values in scored.values():
        seen = values[rows]
        order, raised = np.argsort(-seen), seen - values.min()
        found.append([
            np.corrcoef(seen, true)[0, 1], np.corrcoef(rankdata(seen), true_ranks)[0, 1],
            raised @ true / math.sqrt((raised @ raised) * (true @ true)),
            first[order[:top]].mean(), memorized[order[:count]].mean(),
        ])  # fmt: skip
    return found


@step("agreement: all tables and pictures")
def agreement_report(samples: int) -> Mapping[str, Any]:
    report, folder = AgreementReport(variant(), scores(), memorization(), HOW), Path("agreement")
    folder.mkdir(exist_ok=True)
    return measured(lambda: report.write(folder))


@step("memorization: counts of 500 networks")
def count(samples: int) -> Mapping[str, Any]:
    counts, draw = Counts(samples), np.random.default_rng(3)
    likely = 1 - np.clip(memorization(), 0, 0.95).astype(np.float32)

    def all_networks() -> None:
        for start in range(0, NETWORKS, 50):
            members = np.stack([subset(samples, start + row, share=SHARE, seed=0) for row in range(50)])
            correct = members | (draw.random(members.shape, dtype=np.float32) < likely)
            counts.add(members, correct)

    taken = measured(all_networks)
    np.savez("counts.npz", trained=counts.trained, right=counts.right)
    return taken


@step("memorization: all tables and pictures")
def memorization_report(samples: int) -> Mapping[str, Any]:
    counts = Counts(samples)
    counts.networks = NETWORKS
    with np.load("counts.npz") as kept:
        counts.trained, counts.right = kept["trained"], kept["right"]
    rows, members, correct = influences(100, samples // 5)
    pairs, folder = influential_pairs(rows, members, correct, 1000), Path("memorization")
    folder.mkdir(exist_ok=True)
    return measured(
        lambda: MemorizationReport(PreparedData(), variant(), counts, pairs, correct).write(folder)
    )


def influences(memorized: int, tests: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Networks for `influential_pairs`: half of the test samples are easy, a tenth depends on one."""
    draw = np.random.default_rng(4)
    members = draw.random((NETWORKS, memorized), dtype=np.float32) < SHARE
    accuracy = 1 - draw.beta(0.3, 3, tests).astype(np.float32)
    correct = draw.random((NETWORKS, tests), dtype=np.float32) < accuracy
    some = slice(0, tests // 10)
    correct[:, some] &= members[:, draw.integers(0, memorized, tests)[some]] | correct[::-1, some]
    return np.arange(memorized), members, correct


@step("memorization: influence of N/10 samples on N/5 test samples")
def influence_of_pairs(samples: int) -> Mapping[str, Any]:
    rows, members, correct = influences(samples // 10, samples // 5)
    taken = measured(lambda: influential_pairs(rows, members, correct, 1000))
    height = max(1, 2**23 // correct.shape[1])
    few = rows[: 3 * height]

    def before() -> None:
        for start in range(0, len(few), height):
            values, errors = influence(members[:, start : start + height], correct)
            above = values > INFLUENTIAL
            (above & (values > SURE * errors)).sum(axis=0)

    return {**taken, "before": seconds(before) * len(rows) / len(few)}


@step("duplicates: by pixels and by 64 features, the table and the picture")
def duplicates(samples: int) -> Mapping[str, Any]:
    found, options = variant(), DuplicatesParams()
    first = NAMES[0]
    table = pd.DataFrame({"id": found.ids, "given_label": found.given, first: scores()[first],
                          f"{first}_rank": 1})  # fmt: skip
    table["corrupted"] = np.where(found.corrupted, "1", "0")
    features = np.random.default_rng(5).normal(size=(samples, 64)).astype(np.float32)

    def search() -> None:
        hashes: list[bytes] = []
        small = []
        for start in range(0, samples, CHUNK):
            images = found.read(range(start, min(start + CHUNK, samples)))
            hashes += digests(images)
            small.append(thumbnails(images))
        exact = exact_pairs(hashes)
        distinct = np.setdiff1d(np.arange(samples), [pair.second for pair in exact])
        near: dict[tuple[int, int], Pair] = {}
        for by, vectors in {"pixels": np.concatenate(small), "features": features}.items():
            for pair in near_pairs(vectors, distinct, nearest_neighbours, by=by, ratio=options.ratio,
                                   neighbours=options.neighbours):  # fmt: skip
                near.setdefault((pair.first, pair.second), pair)
        draw_conflicts(
            found, duplicate_table(found, [*exact, *near.values()], table), Path("conflicting.png")
        )

    return measured(search)


@step("evaluate: neighbours by pixels and 64 features")
def neighbours(samples: int) -> Mapping[str, Any]:
    found, draw = variant(), np.random.default_rng(7)

    def search() -> None:
        small = [
            thumbnails(found.read(range(start, min(start + CHUNK, samples))))
            for start in range(0, samples, CHUNK)
        ]
        others(np.concatenate(small), COUNT)
        for _ in range(VOTING if samples <= MANY else 1):
            others(draw.normal(size=(samples, 64)).astype(np.float32), COUNT)

    return measured(search)


@step("quality: dark, light, blurry, low in information")
def quality(samples: int) -> Mapping[str, Any]:
    found = variant()
    parts = (found.read(range(start, min(start + CHUNK, samples))) for start in range(0, samples, CHUNK))
    return measured(lambda: image_issues(parts, None))


def half_widths() -> list[str]:
    """DeLong's intervals against the bootstrap's, for all scores and all differences to the best."""
    lines = [
        "",
        "Half-widths of the 95% intervals of AUROC by DeLong's covariance, and how far those of 1,000 "
        "resamples of the bootstrap are from them at most: of 16 scores, and of their 15 differences to the "
        "best:",
        "",
        "| samples | widest | scores | differences |",
        "|---|---|---|---|",
    ]
    for samples in (1437, 20_000):
        draw = np.random.default_rng(6)
        corrupted = np.arange(samples) < samples // 10
        made = SyntheticTrajectory(draw.integers(0, CLASSES, samples), corrupted)
        scored = [compute(name, {Need.EPOCHS: made}) for name in NAMES]
        areas, drawn = detection.aurocs(corrupted, scored), bootstrapped_aurocs(corrupted, scored, 1000)
        best = int(areas.values.argmax())
        others = [(best, row) for row in range(len(scored)) if row != best]
        gaps = np.stack([drawn[:, best] - drawn[:, row] for _, row in others], axis=1)
        widths, apart = [], []
        for found, values in ((areas.intervals(0.95), drawn), (areas.differences(others, 0.95), gaps)):
            low, high = np.quantile(values, [0.025, 0.975], axis=0)
            widths.append(np.array([interval.high - interval.low for interval in found]) / 2)
            apart.append(abs(widths[-1] - (high - low) / 2).max())
        lines.append(f"| {samples:,} | {max(map(max, widths)):.4f} | {apart[0]:.4f} | {apart[1]:.4f} |")
    return lines


def growth(taken: Sequence[float], sizes: Sequence[int]) -> str:
    """The exponent from the last but one size to the last; empty where start-up costs most of the time."""
    if len(taken) < 2 or taken[-2] < 0.1:
        return ""
    return f"{math.log(taken[-1] / taken[-2]) / math.log(sizes[-1] / sizes[-2]):.2f}"


def report(found: Mapping[str, Mapping[int, Mapping[str, Any]]], sizes: Sequence[int]) -> None:
    """Write the tables as Markdown and CSV."""
    last = sizes[-1]
    headings = [f"{size:,}" for size in sizes]
    headings += ["growth", f"GB at {last:,}", f"before / now at {last:,}"]
    lines = [
        "# How far do the steps after training reach?",
        "",
        "Seconds of every step by the number of samples, those of all cores together (what a step takes on "
        "two idle cores lies between half of them and all); the growth from the last but one number to the "
        "last (1 is proportional to the number, 2 to its square); the peak memory of the step's process; and "
        "how many times as long the algorithm takes that the step has replaced, measured on a part of the "
        "work. Other processes shared the two CPU cores, so seconds by the clock, in scale.csv, are longer. "
        "Written by benchmarks/scale.py.",
        "",
        f"| step | {' | '.join(headings)} |",
        "|---" * (len(sizes) + 4) + "|",
    ]
    rows = []
    for name, by_size in found.items():
        taken = [by_size[size]["seconds"] for size in sizes]
        end = by_size[last]
        ratio = f"{end['before'] / end['seconds']:.0f}x" if "before" in end else ""
        cells = [*(f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in taken),
                 growth(taken, sizes), f"{end['gigabytes']:.1f}", ratio]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
        rows += [{"step": name, "samples": size, **by_size[size]} for size in sizes]
    lines += half_widths()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pd.DataFrame(rows).to_csv(RESULTS.with_suffix(".csv"), index=False)
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a folder for inputs and results, of some GB")
    parser.add_argument("--largest", type=int, default=1_000_000, help="the largest number of samples")
    parser.add_argument("--step", nargs=2, metavar=("NAME", "SAMPLES"), help="only this one")
    options = parser.parse_args()
    if options.step:
        name, samples = options.step
        with chdir(options.work):
            print(json.dumps(STEPS[name](int(samples))))
        return
    sizes = [size for size in (10_000, 100_000, 1_000_000) if size <= options.largest]
    found: dict[str, dict[int, Mapping[str, Any]]] = {name: {} for name in STEPS}
    for size in sizes:
        folder = options.work / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(STEPS):
            result = folder / f"step_{number}.json"
            if not result.exists():
                command = [sys.executable, __file__, str(folder), "--step", name, str(size)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                result.write_text(done.stdout.splitlines()[-1])
            found[name][size] = json.loads(result.read_text())
            print(f"{size:,} {name}: {found[name][size]}", file=sys.stderr, flush=True)
    report(found, sizes)


if __name__ == "__main__":
    main()
