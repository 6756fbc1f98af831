"""Stage `evaluate`: score every sample and judge the scores, in results/evaluate/NAME."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.evaluation import detection, roc_points
from memtrack.core.scores import compute, ranks
from memtrack.core.trajectory import Trajectory
from memtrack.io import pictures
from memtrack.io.dataset import PreparedData
from memtrack.io.params import UNLOGGED, Params
from memtrack.io.paths import EVALUATE_RESULTS, TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem, entry_point
from memtrack.io.results import EvaluateMetrics, ScoreMetrics, TrainMetrics
from memtrack.io.store import RunRecord
from memtrack.io.tracking import Run
from memtrack.io.validation import read_record, write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant

Scores = dict[str, NDArray[np.float64]]
SHEET = 50
"""So many images are on the contact sheet."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    trained, folder = TRAIN_RESULTS / name, EVALUATE_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData()
    variant = VariantData(name, data)
    trajectory = Trajectory(trained / "trajectory")
    if trajectory.ids.tolist() != variant.ids:
        text = "was recorded on other samples than the variant has now: run `dvc repro`"
        raise InputError([Problem(trajectory.folder, message=text)])
    for epoch in trajectory.epochs:
        broken = trajectory.damaged(epoch)
        if broken is not None:
            raise InputError([Problem(broken, message=f"is damaged: run `dvc repro train@{name}`")])
    scores = {key: compute(key, trajectory) for key in params.scores}
    known = variant.flags_known

    table = _table(data, variant, trajectory, scores)
    table.to_csv(folder / "scores.csv", index=False)
    metrics = _metrics(params, variant, scores, read_record(TrainMetrics, trained / "metrics.json"))
    write_record(metrics, folder / "metrics.json")
    _roc_table(scores, variant.corrupted if known else None).to_csv(folder / "roc.csv", index=False)
    _draw(folder / "pictures", data, variant, trajectory, scores, metrics)
    _log(params, read_record(RunRecord, trained / "run.json"), folder, scores, metrics)
    if not known:
        print(f"{name}: no label is known to be corrupted: scores, but no AUROC")
    for key, judged in metrics.scores.items():
        print(f"{name}: {key} AUROC {judged.auroc:.4f} [{judged.auroc_low:.4f}, {judged.auroc_high:.4f}]")


def _table(data: PreparedData, variant: VariantData, trajectory: Trajectory, scores: Scores) -> pd.DataFrame:
    """scores.csv: a row per training sample, the highest curvature first."""
    names = np.asarray(data.record.classes, dtype=object)
    corrupted = variant.corrupted
    known = variant.flags_known
    columns: dict[str, object] = {
        "id": variant.ids,
        "image": data.split("train")["image"].to_numpy(),
        "given_label": names[variant.given],
        "clean_label": names[variant.clean] if known else "",
        "predicted_label": names[trajectory.last("predicted")],
        "corrupted": corrupted.astype(int) if known else "",
    }
    for key, values in scores.items():
        columns[key] = values
        columns[f"{key}_rank"] = ranks(values)
    return pd.DataFrame(columns).sort_values("curvature_rank")


def _metrics(params: Params, variant: VariantData, scores: Scores, trained: TrainMetrics) -> EvaluateMetrics:
    corrupted, options = variant.corrupted, params.evaluate
    judged = {}
    if variant.flags_known:
        for key, values in scores.items():
            found = detection(
                corrupted,
                values,
                resamples=options.bootstrap,
                confidence=options.confidence,
                seed=options.seed,
            )
            judged[key] = ScoreMetrics(**asdict(found))
    return EvaluateMetrics(
        samples=len(corrupted),
        corrupted=int(corrupted.sum()),
        test_accuracy=trained.test_accuracy,
        scores=judged,
    )


def _roc_table(scores: Scores, corrupted: NDArray[np.bool_] | None) -> pd.DataFrame:
    """The corners of the ROC curves; no rows where no label is known to be corrupted."""
    columns = ["score", "false_positive_rate", "true_positive_rate"]
    if corrupted is None:
        return pd.DataFrame(columns=columns)
    points = {key: roc_points(corrupted, values) for key, values in scores.items()}
    return pd.concat(
        [pd.DataFrame(dict(zip(columns, (key, *point), strict=True))) for key, point in points.items()]
    )


def _draw(
    folder: Path,
    data: PreparedData,
    variant: VariantData,
    trajectory: Trajectory,
    scores: Scores,
    metrics: EvaluateMetrics,
) -> None:
    corrupted = variant.corrupted if variant.flags_known else None
    if corrupted is not None:
        aurocs = {key: judged.auroc for key, judged in metrics.scores.items()}
        pictures.roc_curves(scores, corrupted, aurocs, folder / "roc.png")
    pictures.histograms(scores, corrupted, folder / "histograms.png")
    curvature = trajectory.each("curvature")
    pictures.curvature_by_epoch(trajectory.epochs, curvature, corrupted, folder / "curvature.png")

    top = np.argsort(scores["curvature"])[::-1][:SHEET]
    where = data.split("train")["image"].to_numpy()[top]
    names, predicted = data.record.classes, trajectory.last("predicted")
    captions = [
        f"{variant.ids[row][-24:]}\ngiven {names[variant.given[row]]}\npredicted {names[int(predicted[row])]}"
        for row in top
    ]
    marked = variant.corrupted[top].tolist()
    pictures.contact_sheet(data.images(where.tolist()), captions, marked, folder / "highest_curvature.png")


def _log(params: Params, record: RunRecord, folder: Path, scores: Scores, metrics: EvaluateMetrics) -> None:
    """Add to the run that training opened; where this store lacks it, one is opened."""
    run = Run.open(
        params.tracking,
        record.variant,
        name=f"{record.variant} (evaluated)",
        parameters=params.model_dump(mode="json", exclude=UNLOGGED),
        tags={"trained_on_store": record.tracking_uri},
        key=record.key,
        expected=True,
    )
    for key, values in scores.items():
        run.array(f"scores/{key}", values.astype(np.float32))
    drawn = {f"pictures/{path.name}": path for path in sorted((folder / "pictures").glob("*.png"))}
    files = {"scores/scores.csv": folder / "scores.csv", "metrics.json": folder / "metrics.json", **drawn}
    numbers = {
        f"{measure}/{key}": value
        for key, judged in metrics.scores.items()
        for measure, value in judged.model_dump().items()
    }
    run.log(files=files, metrics={"final_test_accuracy": metrics.test_accuracy, **numbers})
    run.end()


if __name__ == "__main__":
    main()
