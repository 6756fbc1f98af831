"""The report of stage `suspects`: tables, metrics and a picture of what was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from memtrack.config.json_files import write_json
from memtrack.data.manifest import write_manifest
from memtrack.report import figures
from memtrack.report.evaluation import names_of
from memtrack.report.metrics import SuspectsMetrics
from memtrack.report.sample_tables import METRICS, SUSPECTS, write_csv
from memtrack.runs.causes import suspects_causes
from memtrack.runs.suspects import Suspects

PICTURE = "pictures/probabilities.png"


def write(suspects: Suspects, folder: Path) -> SuspectsMetrics:
    """Write what was learned to `folder`, the manifest last; returns the content of metrics.json."""
    variant, found = suspects.variant, suspects.found
    names = np.asarray(variant.summary.classes, dtype=object)
    table = pd.DataFrame(
        {
            "id": variant.ids,
            "image": variant.images,
            "given_label": names[variant.given],
            "suspicion": found.suspicion,
            "mislabelled": found.probability,
            "suggested_label": names_of(suspects.suggested, names),
            "suggested_probability": found.probability * suspects.share,
        }
    )
    write_csv(table.sort_values("suspicion", ascending=False), folder / SUSPECTS)
    weights = {"score": suspects.features, "weight": found.weights, "auroc": found.aurocs}
    pd.DataFrame(weights).to_csv(folder / "weights.csv", index=False)
    corrupted = variant.corrupted if variant.flags_known else None
    figures.probabilities(found.probability, corrupted, folder / PICTURE)
    metrics = _metrics(suspects)
    write_json(metrics, folder / METRICS)
    write_manifest(
        folder,
        suspects_causes(suspects.params, variant),
        {file: folder / file for file in (SUSPECTS, METRICS)},
    )
    return metrics


def _metrics(suspects: Suspects) -> SuspectsMetrics:
    found, wrong = suspects.found, suspects.variant.corrupted
    known, called = suspects.variant.flags_known, int(found.called.sum())
    hits = int((wrong & found.called).sum())
    return SuspectsMetrics(
        auroc_of_flips=found.auroc,
        recovered=suspects.recovered,
        wrong=found.wrong,
        wrong_low=found.low,
        wrong_high=found.high,
        called=called,
        expected_precision=found.expected_precision,
        expected_recall=found.expected_recall,
        precision=hits / called if known and called else None,
        recall=hits / int(wrong.sum()) if known else None,
    )
