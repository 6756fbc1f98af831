"""Stage `agreement`: how far each score agrees with memorization, in results/agreement/NAME, or with the
memorization that others have published, in results/agreement/NAME-published.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.memorization import MEASURES, MEMORIZED, Agreement, agreements, disagreements
from memtrack.io import pictures
from memtrack.io.dataset import PreparedData
from memtrack.io.params import Params, mistake
from memtrack.io.paths import (
    AGREEMENT_RESULTS,
    EVALUATE_RESULTS,
    MEMORIZATION_RESULTS,
    TRAIN_RESULTS,
    input_path,
)
from memtrack.io.problems import InputError, Problem, entry_point
from memtrack.io.published import published_memorization
from memtrack.io.results import AgreementMetrics
from memtrack.io.score_table import read_memorization, read_scores, score_names
from memtrack.io.store import RunRecord
from memtrack.io.tracking import Run
from memtrack.io.validation import read_record, write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_variant

Scores = dict[str, NDArray[np.float64]]
SHOWN = 10
"""Of each score, so many of the highest samples that are not memorized, and of the lowest that are."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="a key of variants: in params.yaml")
    parser.add_argument(
        "--published", action="store_true", help="compare with the file in memorization.published"
    )
    options = parser.parse_args()
    params, name = load_variant(options.variant), options.variant
    data = PreparedData()
    variant = VariantData(name, data)
    table = read_scores(EVALUATE_RESULTS / name / "scores.csv", variant)
    scores = {key: table[key].to_numpy(dtype=np.float64) for key in score_names(table)}
    if options.published:
        if name not in params.memorization.published:
            raise mistake("memorization", "published", message=f"names no file for the variant {name}")
        path = input_path(params.memorization.published[name])
        memorization = published_memorization(path, data, variant)
    else:
        memorization = read_memorization(MEMORIZATION_RESULTS / name, variant)
    folder = AGREEMENT_RESULTS / (f"{name}-published" if options.published else name)
    folder.mkdir(parents=True, exist_ok=True)
    known = ~np.isnan(memorization)
    if known.sum() < 2:
        where = path if options.published else MEMORIZATION_RESULTS / name
        raise InputError([Problem(where, message=f"says nothing about the samples of {name}")])
    judged, differences = agreements(
        {key: values[known] for key, values in scores.items()}, memorization[known],
        resamples=params.evaluate.bootstrap, confidence=params.evaluate.confidence, seed=params.evaluate.seed,
    )  # fmt: skip
    rows = [{"score": key, **_columns(found)} for key, found in judged.items()]
    pd.DataFrame(rows).to_csv(folder / "agreement.csv", index=False)
    paired = [
        {"better": better, "worse": worse, **_columns(found)}
        for (better, worse), found in differences.items()
    ]
    pd.DataFrame(paired, columns=["better", "worse", *_names()]).to_csv(
        folder / "differences.csv", index=False
    )
    best, *others = judged
    metrics = AgreementMetrics(
        samples=int(known.sum()),
        memorized=int((memorization[known] > MEMORIZED).sum()),
        scores={key: _columns(found) for key, found in judged.items()},
        behind_best={key: _columns(differences[best, key]) for key in others},
    )
    write_record(metrics, folder / "metrics.json")
    _draw(folder / "pictures", variant, scores, memorization)
    what = "agreement_with_published" if options.published else "agreement"
    _log(params, read_record(RunRecord, TRAIN_RESULTS / name / "run.json"), folder, what, metrics)
    for key, measures in judged.items():
        found = measures["pearson"]
        said = "is not defined" if np.isnan(found.value) else f"{found.value:.3f}"
        interval = "" if np.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
        print(f"{folder.name}: {key} Pearson {said}{interval}")


def _names() -> list[str]:
    return [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]


def _columns(found: Agreement) -> dict[str, float | None]:
    """pearson, pearson_low, pearson_high, ...; None for what is not defined."""
    numbers = [
        number
        for measure in MEASURES
        for number in (found[measure].value, found[measure].low, found[measure].high)
    ]
    return {
        name: None if np.isnan(number) else number for name, number in zip(_names(), numbers, strict=True)
    }


def _draw(folder: Path, variant: VariantData, scores: Scores, memorization: NDArray[np.float64]) -> None:
    corrupted = variant.corrupted if variant.flags_known else None
    pictures.scatters(scores, memorization, corrupted, folder / "scatter.png")
    names = variant.summary.classes
    for key, values in scores.items():
        place = pd.Series(-values).where(~np.isnan(memorization)).rank(method="min")
        rows = np.concatenate(disagreements(values, memorization, SHOWN))
        captions = [
            f"{variant.ids[row][-24:]}\ngiven {names[variant.given[row]]}\n"
            f"mem {memorization[row]:.3f}, place {place[row]:.0f}"
            for row in rows
        ]
        path = folder / f"disagree_{key}.png"
        pictures.contact_sheet(variant.read(rows), captions, variant.corrupted[rows].tolist(), path)


def _log(params: Params, record: RunRecord, folder: Path, what: str, metrics: AgreementMetrics) -> None:
    """Add to the run that training opened; `what`: with which memorization the scores were compared."""
    run = Run.of_training(params, record, what)
    files = {
        f"{what}/{path.relative_to(folder)}": path
        for path in sorted([*folder.glob("*.csv"), *folder.glob("pictures/*.png")])
    }
    numbers = {
        f"{what}_{measure}/{key}": value
        for key, found in metrics.scores.items()
        for measure in MEASURES
        if (value := found[measure]) is not None
    }
    run.log(files=files, metrics=numbers)
    run.end()


if __name__ == "__main__":
    main()
