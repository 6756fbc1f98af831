"""Stage `evaluate`: score every sample and judge the scores, in results/evaluate/NAME."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.evaluation import (
    FEW,
    Detection,
    Difference,
    auroc,
    auroc_by_class,
    compare,
    roc_points,
)
from memtrack.core.scores import compute, ranks
from memtrack.core.trajectory import Trajectory
from memtrack.io import pictures
from memtrack.io.dataset import PreparedData
from memtrack.io.params import Params
from memtrack.io.paths import EVALUATE_RESULTS, TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem, entry_point
from memtrack.io.results import ConflictMetrics, EvaluateMetrics, ScoreMetrics, TrainMetrics
from memtrack.io.store import RunRecord
from memtrack.io.tracking import Run
from memtrack.io.validation import read_record, write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant

Scores = dict[str, NDArray[np.float64]]
LOGGED = {"auroc", "auroc_low", "auroc_high", "average_precision", "precision_first_5", "recall_first_5"}
"""What MLflow is told of every score; metrics.json, which it also gets, has all."""
CORNERS = 1000
SHEET = 50
"""So many images are on the contact sheet."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    evaluate(params, name, TRAIN_RESULTS / name, EVALUATE_RESULTS / name)


def evaluate(params: Params, name: str, trained: Path, folder: Path) -> None:
    """Score and judge what a training of the variant `name` has left in `trained`; results in `folder`."""
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
    scores = _scores(params, trajectory)
    table = _table(data, variant, trajectory, scores)
    table.to_csv(folder / "scores.csv", index=False)
    metrics, differences = _judge(
        params, variant, trajectory, scores, read_record(TrainMetrics, trained / "metrics.json")
    )
    write_record(metrics, folder / "metrics.json")
    differences.to_csv(folder / "differences.csv", index=False)
    known = variant.corrupted if variant.flags_known else None
    _by_class(variant, scores, known).to_csv(folder / "classes.csv", index=False)
    curves = _roc_curves(scores, known)
    curves.to_csv(folder / "roc.csv", index=False)
    _draw(folder / "pictures", data, variant, trajectory, scores, metrics, curves)
    _log(params, read_record(RunRecord, trained / "run.json"), folder, scores, metrics)
    _say(name, metrics)


def _say(name: str, metrics: EvaluateMetrics) -> None:
    """The numbers in words."""
    if not metrics.scores:
        print(f"{name}: no label is known to be corrupted: scores, but no AUROC")
    for key, judged in metrics.scores.items():
        print(f"{name}: {key} AUROC {judged.auroc:.4f} [{judged.auroc_low:.4f}, {judged.auroc_high:.4f}]")
    for text in metrics.said():
        print(f"{name}: {text}")


def _scores(params: Params, trajectory: Trajectory) -> Scores:
    found = {}
    for name in params.scores:
        try:
            found[name] = compute(name, trajectory)
        except LookupError as error:
            text = f"{error}: run `dvc repro`"
            raise InputError([Problem(trajectory.folder, None, ("evaluate", "scores", name), text)]) from None
    return found


def _table(data: PreparedData, variant: VariantData, trajectory: Trajectory, scores: Scores) -> pd.DataFrame:
    """scores.csv: a row per training sample, the highest of the first score first."""
    names = np.asarray(data.record.classes, dtype=object)
    corrupted = variant.corrupted
    known = variant.flags_known
    columns: dict[str, object] = {
        "id": variant.ids,
        "image": variant.images,
        "given_label": names[variant.given],
        "clean_label": names[variant.clean] if known else "",
        "predicted_label": names[trajectory.last("predicted")],
        "corrupted": corrupted.astype(int) if known else "",
    }
    for key, values in scores.items():
        columns[key] = values
        columns[f"{key}_rank"] = ranks(values)
    return pd.DataFrame(columns).sort_values(f"{next(iter(scores))}_rank")


def _judge(
    params: Params, variant: VariantData, trajectory: Trajectory, scores: Scores, trained: TrainMetrics
) -> tuple[EvaluateMetrics, pd.DataFrame]:
    """metrics.json, and differences.csv: each score against each other one, on the same resamples."""
    corrupted, options = variant.corrupted, params.evaluate
    judged: dict[str, Detection] = {}
    differences: dict[tuple[str, str], Difference] = {}
    behind: dict[str, dict[str, float]] = {}
    warnings = []
    if variant.flags_known:
        judged, differences = compare(
            corrupted, scores, resamples=options.bootstrap, confidence=options.confidence, seed=options.seed
        )
        best = max(judged, key=lambda key: judged[key].auroc)
        behind = {key: _behind(differences.get((best, key))) for key in scores}
        least = min(int(corrupted.sum()), int((~corrupted).sum()))
        if least < FEW:
            kind = "corrupted" if corrupted.sum() == least else "clean"
            warnings.append(f"{least} {kind} samples are too few for an AUROC to say much (below {FEW})")
    metrics = EvaluateMetrics(
        samples=len(corrupted),
        corrupted=int(corrupted.sum()),
        test_accuracy=trained.test_accuracy,
        scores={key: ScoreMetrics(**asdict(found), **behind[key]) for key, found in judged.items()},
        conflicts=_conflicts(variant, trajectory, scores),
        warnings=tuple(warnings),
    )
    rows = [
        {
            "better": better,
            "worse": worse,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
        }
        for (better, worse), found in differences.items()
    ]
    return metrics, pd.DataFrame(rows, columns=["better", "worse", "difference", "low", "high"])


def _behind(found: Difference | None) -> dict[str, float]:
    """How far a score is behind the best one; 0 for None, the best one itself."""
    numbers = (0.0, 0.0, 0.0) if found is None else (found.difference, found.low, found.high)
    return dict(zip(("behind_best", "behind_best_low", "behind_best_high"), numbers, strict=True))


def _conflicts(variant: VariantData, trajectory: Trajectory, scores: Scores) -> ConflictMetrics | None:
    """What becomes of copies under another label; None where there are none."""
    # other noise may have made the labels of the two agree
    copies = np.flatnonzero(variant.given[variant.originals] != variant.given)
    originals = variant.originals[copies]
    if not len(copies):
        return None
    predicted = trajectory.last("predicted")[copies]
    original, copy = predicted == variant.given[originals], predicted == variant.given[copies]
    both = np.zeros(len(variant.ids), dtype=bool)
    both[originals] = both[copies] = True
    return ConflictMetrics(
        pairs=len(copies),
        prefers_original=float(original.mean()),
        prefers_copy=float(copy.mean()),
        prefers_neither=float((~original & ~copy).mean()),
        auroc_of_both={key: auroc(both, values) for key, values in scores.items()},
    )


def _by_class(variant: VariantData, scores: Scores, corrupted: NDArray[np.bool_] | None) -> pd.DataFrame:
    """classes.csv: for each given label how many samples, how many corrupted, and the AUROC of each score
    among them; empty where there are fewer than `FEW` of one kind, or nothing is known to be corrupted."""
    names = variant.summary.classes
    counts = np.bincount(variant.given, minlength=len(names))
    table: dict[str, object] = {"given_label": names, "samples": counts}
    if corrupted is not None:
        wrong = np.bincount(variant.given[corrupted], minlength=len(names))
        table["corrupted"] = wrong
        few = np.minimum(wrong, counts - wrong) < FEW
        for key, values in scores.items():
            found = auroc_by_class(corrupted, values, variant.given, classes=len(names))
            table[key] = np.where(few, np.nan, found)
    return pd.DataFrame(table)


def _roc_curves(scores: Scores, corrupted: NDArray[np.bool_] | None) -> pd.DataFrame:
    """The ROC curves, at most `CORNERS` points of each; no rows where nothing is known to be corrupted."""
    columns = ["score", "false_positive_rate", "true_positive_rate"]
    if corrupted is None:
        return pd.DataFrame(columns=columns)
    curves = []
    for key, values in scores.items():
        points = pd.DataFrame(dict(zip(columns, (key, *roc_points(corrupted, values)), strict=True)))
        shown = np.unique(np.linspace(0, len(points) - 1, CORNERS).round().astype(int))
        curves.append(points.iloc[shown])
    return pd.concat(curves)


def _draw(
    folder: Path,
    data: PreparedData,
    variant: VariantData,
    trajectory: Trajectory,
    scores: Scores,
    metrics: EvaluateMetrics,
    curves: pd.DataFrame,
) -> None:
    corrupted = variant.corrupted if variant.flags_known else None
    if corrupted is not None:
        aurocs = {key: judged.auroc for key, judged in metrics.scores.items()}
        pictures.roc_curves(curves, aurocs, folder / "roc.png")
    pictures.histograms(scores, corrupted, folder / "histograms.png")
    curvature = trajectory.each("curvature")
    pictures.curvature_by_epoch(trajectory.epochs, curvature, corrupted, folder / "curvature.png")

    first = next(iter(scores))
    top = np.argsort(-scores[first], kind="stable")[:SHEET]
    names, predicted = data.record.classes, trajectory.last("predicted")
    captions = [
        f"{variant.ids[row][-24:]}\ngiven {names[variant.given[row]]}\npredicted {names[int(predicted[row])]}"
        for row in top
    ]
    marked = variant.corrupted[top].tolist()
    pictures.contact_sheet(variant.read(top), captions, marked, folder / f"highest_{first}.png")


def _log(params: Params, record: RunRecord, folder: Path, scores: Scores, metrics: EvaluateMetrics) -> None:
    """Add to the run that training opened; where this store lacks it, one is opened."""
    run = Run.of_training(params, record, "evaluated")
    for key, values in scores.items():
        run.array(f"scores/{key}", values.astype(np.float32))
    drawn = {f"pictures/{path.name}": path for path in sorted((folder / "pictures").glob("*.png"))}
    tables = {f"scores/{name}": folder / name for name in ("scores.csv", "differences.csv", "classes.csv")}
    files = {**tables, "metrics.json": folder / "metrics.json", **drawn}
    numbers = {
        f"{measure}/{key}": value
        for key, judged in metrics.scores.items()
        for measure, value in judged.model_dump(include=LOGGED).items()
    }
    if metrics.conflicts is not None:
        numbers |= metrics.conflicts.model_dump(exclude={"auroc_of_both"})
    run.log(files=files, metrics={"final_test_accuracy": metrics.test_accuracy, **numbers})
    run.end()


if __name__ == "__main__":
    main()
