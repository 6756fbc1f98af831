"""The table of stage `averaged`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from memtrack.config.json_files import write_json
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import AveragedMetrics
from memtrack.report.sample_tables import AVERAGED, write_csv
from memtrack.runs.averaged import Averaged
from memtrack.runs.causes import averaged_causes


def write(averaged: Averaged, folder: Path) -> AveragedMetrics:
    """Write averaged.csv to `folder`, the manifest last; returns the content of metrics.json."""
    write_csv(pd.DataFrame({"id": averaged.variant.ids, **averaged.mean_ranks}), folder / AVERAGED)
    accuracies = [run.metrics.test_accuracy for run in averaged.runs]
    metrics = AveragedMetrics(
        trainings=len(averaged.runs),
        agreement=averaged.agreement,
        least_accuracy=min(accuracies),
        largest_accuracy=max(accuracies),
    )
    write_json(metrics, folder / "metrics.json")
    causes = averaged_causes(averaged.params, averaged.variant)
    write_manifest(folder, causes, {AVERAGED: folder / AVERAGED})
    return metrics
