"""How well does suspicion find wrong labels, a priori and learned from flips, under which training?

    python benchmarks/detection.py WORK                               # the digits: an hour on two cores
    python benchmarks/detection.py WORK --mnist ROOT --cifar ROOT     # many hours
    python benchmarks/detection.py WORK --only digits --recipes plain early_learning --seeds 0

For every data set, kind of noise, training and seed (of the noise, the network and the flips) it runs the
stages in projects under WORK, as `scores_and_noise.py` does, which also says what ROOT is. It writes the
table benchmarks/results/detection.md. Existing results are not computed again, so an interrupted command
continues.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scores_and_noise as base
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from memtrack.core.evaluation.detection import paired_difference

RESULTS = Path(__file__).parent / "results" / "detection.md"
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "early_learning": {"loss": {"kind": "early_learning"}},
    "symmetric_cross_entropy": {"loss": {"kind": "symmetric_cross_entropy"}},
    "mixup": {"mixup": 1.0},
}
AVERAGED: tuple[dict[str, Any], ...] = (RECIPES["early_learning"], RECIPES["mixup"])
"""With plain training these are averaged, each with a seed of its own."""
NOISE = {
    **{name: entry for name, entry in base.NOISE.items() if not name.startswith(("human", "conflicting"))},
    **{
        f"human, {column}": {"kind": "from_file", "id_column": "path", "label_column": column}
        for column in ("random1", "worst", "aggregate")
    },
}
FIXED = ("csl", "aum", "el2n", "confidence", "inconfidence", "curvature", "neighbours", "neighbours_pixels")
SCORES = (*FIXED, "curvature_log", "curvature_ranks", "curvature_weighted", "input_gradient_norm",
          "variability", "learning_time", "first_learned", "forgetting_events")  # fmt: skip
CURVATURES = [name for name in SCORES if name.startswith("curvature")]
OTHERS = [name for name in SCORES if name not in CURVATURES]
BINS = 10


def slug(noise: str) -> str:
    """The variant's name."""
    return base.slug(noise).replace(",", "")


def parameters(name: str, recipe: str, seed: int, root: Path | None) -> dict[str, Any]:
    """The params.yaml of a project: one data set, one training, all kinds of noise, one seed."""
    made = base.parameters(name, seed, root)
    made["train"] |= RECIPES[recipe]
    made["variants"] = {}
    for noise, entry in NOISE.items():
        if entry["kind"] != "from_file":
            made["variants"][slug(noise)] = {"labels": base.PREPARED, "seed": seed, **entry}
        elif name == "cifar":
            made["variants"][slug(noise)] = {"labels": str((root or Path()) / "human_labels.csv"), **entry}
    made["evaluate"] = {"scores": list(SCORES)}
    made["suspects"] = {"seed": seed}
    return made


def run(work: Path, roots: dict[str, Path | None], options: argparse.Namespace) -> None:
    """Compute the results that are missing."""
    for seed in options.seeds:
        for name in options.only:
            for recipe in options.recipes:
                folder = work / f"{name}-{recipe}-{seed}"
                (folder / "data/raw").mkdir(parents=True, exist_ok=True)
                made = parameters(name, recipe, seed, roots.get(name))
                for variant in made["variants"]:
                    found = folder / f"{variant}.json"
                    if options.noise and variant not in options.noise:
                        continue
                    if not found.exists():
                        print(f"--- {name}, {recipe}, {variant}, seed {seed}", flush=True)
                        evaluate(folder, made, variant, found)
                    if recipe == "plain" and "averaged" not in json.loads(found.read_text()):
                        print(f"--- {name}, three trainings, {variant}, seed {seed}", flush=True)
                        average(folder, made, variant, found)


def evaluate(folder: Path, made: dict[str, Any], variant: str, found: Path) -> None:
    """Train on a variant, evaluate it with and without what is learned from flips, and keep the numbers."""

    def write(learned: list[str]) -> None:
        content = {**made, "suspects": {**made["suspects"], "variants": learned}}
        (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    write([])
    if not (folder / "data/prepared/dataset.json").exists():
        base.stage(folder, "prepare")
    for name in ("corrupt", "train", "evaluate"):
        base.stage(folder, name, variant)
    metrics = folder / f"results/evaluate/{variant}/metrics.json"
    before = json.loads(metrics.read_text())
    write([variant])
    base.stage(folder, "suspects", variant)
    base.stage(folder, "evaluate", variant)
    after = json.loads(metrics.read_text())
    table = pd.read_csv(folder / f"results/evaluate/{variant}/scores.csv")
    wrong, probability = table["corrupted"].to_numpy() == 1, table["mislabelled"].to_numpy()
    numbers = {
        "test accuracy": before["test_accuracy"],
        "wrong": int(wrong.sum()),
        "aurocs": {score: judged["auroc"] for score, judged in before["scores"].items()},
        "learned": after["scores"]["suspicion"]["auroc"],
        "calibration error": calibration_error(probability, wrong),
        "suspects": json.loads((folder / f"results/suspects/{variant}/metrics.json").read_text()),
    }
    found.write_text(json.dumps(numbers))


def average(folder: Path, made: dict[str, Any], variant: str, found: Path) -> None:
    """Train twice more, in other ways, and add what the averaged scores find."""
    seed = made["train"].get("seed", 0)
    trainings = [{"seed": seed + 100 * number, **other} for number, other in enumerate(AVERAGED, start=1)]
    content = {**made, "averaged": {"variants": [variant], "trainings": trainings}}
    content["evaluate"] = {"scores": [*SCORES, "averaged_suspicion", "averaged_el2n"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    base.stage(folder, "averaged", variant)
    base.stage(folder, "evaluate", variant)
    judged = json.loads((folder / f"results/evaluate/{variant}/metrics.json").read_text())["scores"]
    numbers = json.loads(found.read_text())
    numbers["averaged"] = {name: judged[f"averaged_{name}"]["auroc"] for name in ("suspicion", "el2n")}
    found.write_text(json.dumps(numbers))


def calibration_error(probability: Any, wrong: Any) -> float:
    """The expected calibration error over ten bins of equal width (Guo et al., ICML 2017)."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [
        abs(probability[bins == number].mean() - wrong[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    ]
    return float(sum(gaps))


def rows(work: Path) -> Iterator[dict[str, Any]]:
    """A row for each data set, noise and training, over the seeds."""
    for name in base.DATA:
        for noise in NOISE:
            for recipe in RECIPES:
                paths = sorted(work.glob(f"{name}-{recipe}-?/{slug(noise)}.json"))
                found = [json.loads(path.read_text()) for path in paths]
                if not found:
                    continue
                fixed = {score: mean([one["aurocs"][score] for one in found]) for score in SCORES}
                best = max(fixed, key=lambda score: fixed[score])
                inside = [
                    one["suspects"]["wrong_low"] <= one["wrong"] <= one["suspects"]["wrong_high"]
                    for one in found
                ]
                yield {
                    "data": base.TITLES[name],
                    "noise": noise,
                    "training": recipe,
                    "seeds": len(found),
                    "test accuracy": mean([one["test accuracy"] for one in found]),
                    "curvature": fixed["curvature"],
                    "best fixed score": f"{fixed[best]:.3f} (`{best}`)",
                    "suspicion": spread([one["aurocs"]["suspicion"] for one in found]),
                    "three averaged": averaged(found),
                    "learned": spread([one["learned"] for one in found]),
                    "ECE": mean([one["calibration error"] for one in found]),
                    "wrong": " / ".join(
                        f"{one['suspects']['wrong']:.0f} [{one['suspects']['wrong_low']:.0f}, "
                        f"{one['suspects']['wrong_high']:.0f}] of {one['wrong']}"
                        for one in found
                    ),
                    "interval holds it": f"{sum(inside)} of {len(inside)}",
                    "precision, expected / true": pairs(found, "precision"),
                    "recall": pairs(found, "recall"),
                }


def averaged(found: list[dict[str, Any]]) -> str:
    """What the averaged suspicion finds, and the averaged EL2N; empty if it was not computed."""
    known = [one["averaged"] for one in found if "averaged" in one]
    parts = [[one[name] for one in known] for name in ("suspicion", "el2n")]
    return " / ".join(spread(values) for values in parts) if known else ""


def carried(work: Path) -> Iterator[dict[str, Any]]:
    """Whether curvature carries anything that other scores do not: how well the corrupted samples are told
    by a logistic regression on the ranks of the scores, without and with those of curvature. It is trained on
    the true flags of the other four fifths of the samples, which nobody has in practice."""
    for path in sorted(work.glob("*-*-?/results/evaluate/*/scores.csv")):
        table, folder = pd.read_csv(path), path.parents[3]
        name, recipe, seed = folder.name.rsplit("-", 2)
        wrong = table["corrupted"].to_numpy() == 1
        if not set(SCORES) <= set(table.columns) or not wrong.any():
            continue
        both, without = (told(table[names], wrong) for names in (list(SCORES), OTHERS))
        gain = paired_difference(wrong, both, without, 0.95)
        yield {
            "data": base.TITLES[name],
            "noise": path.parent.name,
            "training": recipe,
            "seed": seed,
            "without curvature": gain.second,
            "with": gain.first,
            "gain": f"{gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        }


def told(scores: pd.DataFrame, wrong: Any) -> Any:
    """The log odds that each sample is wrong, (N,), by the regression on the other folds."""
    model = LogisticRegression(C=1.0, max_iter=2000)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    ranked = StandardScaler().fit_transform(scores.rank())
    return cross_val_predict(model, ranked, wrong, cv=folds, method="decision_function")


def markdown(table: pd.DataFrame) -> list[str]:
    """The lines of a table."""
    cells = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.values
    ]
    head = [list(table.columns), ["---"] * len(table.columns)]
    return ["| " + " | ".join(row) + " |" for row in [*head, *cells]]


def mean(values: list[float]) -> float:
    """Their mean."""
    return statistics.fmean(values)


def spread(values: list[float]) -> str:
    """Their mean and, if they are several, the smallest and the largest."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def pairs(found: list[dict[str, Any]], key: str) -> str:
    """What was expected and what is true, the means over the seeds."""
    both = [
        (one["suspects"][f"expected_{key}"], one["suspects"][key])
        for one in found
        if one["suspects"][f"expected_{key}"] is not None and one["suspects"][key] is not None
    ]
    if not both:
        return ""
    return " / ".join(f"{mean([values[number] for values in both]):.2f}" for number in range(2))


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--only", nargs="+", choices=base.DATA, default=None)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--noise", nargs="+", default=None, help="names of variants")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(base.SEEDS))
    options = parser.parse_args()
    roots = {"mnist": options.mnist, "cifar": options.cifar}
    roots = {name: path and path.resolve() for name, path in roots.items()}
    options.only = options.only or ["digits", *(name for name in roots if roots[name])]
    run(options.work.resolve(), roots, options)
    table = pd.DataFrame(rows(options.work))
    lines = [
        "# How well does suspicion find wrong labels?",
        "",
        "AUROC, means over the seeds (in brackets the smallest and the largest). `suspicion` is the fixed "
        "mean of scores; `three averaged` are `averaged_suspicion` / `averaged_el2n` of this training, one "
        "with early-learning regularization and one with mixup; `learned` is chosen by one more training "
        "with 10% flipped labels, as are the other columns. Written by benchmarks/detection.py.",
        "",
        *markdown(table),
        "",
        "## Does curvature carry anything that the other scores do not?",
        "",
        "AUROC of a logistic regression on the ranks of the scores, five folds, trained on the true flags: "
        f"{', '.join(OTHERS)}; and with {', '.join(CURVATURES)}.",
        "",
        *markdown(pd.DataFrame(carried(options.work))),
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
