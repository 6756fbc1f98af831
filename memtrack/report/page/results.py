"""The results of the earlier stages that the page of a variant shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import read_json
from memtrack.config.params import Params
from memtrack.config.paths import (
    DUPLICATES_RESULTS,
    EVALUATE_RESULTS,
    MEMORIZATION_RESULTS,
    QUALITY_RESULTS,
    SUSPECTS_RESULTS,
)
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.data.all_images import AllImages
from memtrack.data.tables import unguarded
from memtrack.data.variants import VariantData
from memtrack.report import held_out
from memtrack.report.metrics import (
    ISSUES,
    DuplicatesMetrics,
    EvaluateMetrics,
    QualityMetrics,
    SuspectsMetrics,
)
from memtrack.report.sample_tables import read_memorization, read_scores
from memtrack.runs.causes import evaluation_causes, memorization_causes
from memtrack.runs.trained import TrainedRun


@dataclass(frozen=True)
class Results:
    """What is known of a variant with N samples.

    Attributes:
        settings: the main parameters, as pairs of a name and its value in words.
        scores: scores.csv, in the order of the samples; the first score orders them.
        trajectory: the recorded numbers.
        neighbours: the rows of the nearest other samples of each sample, nearest first, int64 (N, K); -1
            where there are fewer.
        evaluated, learned, duplicated: metrics.json of the stages evaluate, suspects and duplicates.
            `learned` is None if there are no stages: somebody has recorded a training loop of their own.
        roc, review: roc.csv and review.csv; without rows if the corrupted samples are not known.
        duplicates: id, group and conflicting of each sample that has a duplicate; None if nobody looked.
        images: those of the samples, and of the test split.
        judged: metrics.json of stage quality; None if nobody looked.
        memorization: the measured memorization of each sample, (N,), NaN where it is not known; None if stage
            memorization has not run with these parameters.
        issues: issue, row and other of each issue of a sample, by rows of `images`; other is the test sample
            of a leak, else -1. None if nobody looked.
        tests: what is known of the test samples; None if they are not known.
    """

    variant: VariantData
    settings: Sequence[tuple[str, str]]
    scores: pd.DataFrame
    trajectory: EpochArrays
    neighbours: NDArray[np.int64]
    evaluated: EvaluateMetrics
    learned: SuspectsMetrics | None
    duplicated: DuplicatesMetrics | None
    roc: pd.DataFrame
    review: pd.DataFrame
    duplicates: pd.DataFrame | None
    images: AllImages
    judged: QualityMetrics | None
    issues: pd.DataFrame | None
    memorization: NDArray[np.float64] | None
    tests: held_out.HeldOutResults | None = None


def read_results(params: Params, variant: VariantData, run: TrainedRun, images: AllImages) -> Results:
    """The results of the stages for a variant and its training.

    Raises:
        InputError: if those of evaluate are missing, damaged or made from other parameters, or those of
            duplicates or quality belong to other samples.
    """
    evaluated = EVALUATE_RESULTS / variant.name
    learned = SUSPECTS_RESULTS / variant.name / "metrics.json"
    found = DUPLICATES_RESULTS / variant.name
    scores = read_scores(evaluated, variant, evaluation_causes(params, variant))
    held = images.ids[images.first_test :]
    tests, neighbours = held_out.read(evaluated, variant, held, evaluation_causes(params, variant))
    looked = (found / "duplicates.csv").exists()
    quality = QUALITY_RESULTS / variant.name
    judged = (quality / "issues.csv").exists()
    return Results(
        variant=variant,
        settings=_settings(params, variant.name),
        scores=scores,
        trajectory=run.trajectory,
        neighbours=neighbours,
        evaluated=read_json(EvaluateMetrics, evaluated / "metrics.json"),
        learned=read_json(SuspectsMetrics, learned) if learned.exists() else SuspectsMetrics(),
        duplicated=read_json(DuplicatesMetrics, found / "metrics.json") if looked else None,
        roc=_curves(evaluated / "roc.csv", variant),
        review=_curves(evaluated / "review.csv", variant),
        duplicates=_duplicates(found / "duplicates.csv", variant) if looked else None,
        images=images,
        judged=read_json(QualityMetrics, quality / "metrics.json") if judged else None,
        issues=_issues(quality / "issues.csv", variant.name, images) if judged else None,
        memorization=_memorization(params, variant),
        tests=tests,
    )


def _curves(path: Path, variant: VariantData) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError):
        text = f"is not there, or is damaged: run `dvc repro evaluate@{variant.name}`"
        raise InputError([Problem(path, message=text)]) from None


def _duplicates(path: Path, variant: VariantData) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    try:
        found = pd.DataFrame(
            {
                "id": table["id"].map(unguarded),
                "group": table["group"].astype(int),
                "conflicting": table["conflicting"] == "True",
            }
        )
        if not set(found["id"]) <= variant.row.keys():
            raise ValueError("other samples")
    except (KeyError, ValueError):
        text = f"is damaged, or belongs to other samples: run `dvc repro duplicates@{variant.name}`"
        raise InputError([Problem(path, message=text)]) from None
    return found


def _memorization(params: Params, variant: VariantData) -> NDArray[np.float64] | None:
    with suppress(InputError):  # a stage for some variants alone, which may not have run
        made_from = memorization_causes(params, variant)
        return read_memorization(MEMORIZATION_RESULTS / variant.name, variant, made_from)
    return None


def _issues(path: Path, name: str, images: AllImages) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = {("train", sample): row for row, sample in enumerate(images.ids[: images.first_test])}
    tests = enumerate(images.ids[images.first_test :], start=images.first_test)
    rows |= {("test", sample): row for row, sample in tests}
    try:
        own = [
            rows[split, unguarded(sample)] for split, sample in zip(table["split"], table["id"], strict=True)
        ]
        others = [rows["test", unguarded(sample)] if sample else -1 for sample in table["other_id"]]
        found = pd.DataFrame({"issue": table["issue"], "row": own, "other": others})
        if not set(found["issue"]) <= ISSUES.keys():
            raise ValueError("other issues")
    except (KeyError, ValueError):
        text = f"is damaged, or belongs to other samples: run `dvc repro quality@{name}`"
        raise InputError([Problem(path, message=text)]) from None
    return found


def _settings(params: Params, name: str) -> list[tuple[str, str]]:
    """The main parameters in words."""
    train, curvature = params.train, params.curvature
    chosen: dict[str, Any] = {
        "data": f"{params.data.kind}, {params.data.root}",
        "variant": params.variants[name],
        "network": train.model,
        "training": f"{train.epochs} epochs, batch size {train.batch_size}, seed {train.seed}",
        "optimizer": train.optimizer,
        "schedule": train.schedule,
        "loss": train.loss,
        "recorded epochs": ", ".join(map(str, params.recorded_epochs())),
        "curvature": f"{curvature.method}, h {curvature.perturbation_scale:g}, probes {curvature.probes}, "
        f"norm {curvature.norm}",
    }
    if name in params.suspects.variants:
        flips = params.suspects
        chosen["flipped labels"] = f"{flips.share:.0%} of the labels, draws {flips.draws}, seed {flips.seed}"
    return [(key, value if isinstance(value, str) else _words(value)) for key, value in chosen.items()]


def _words(section: Any) -> str:
    """A section in words, its kind first."""
    content = section.model_dump(mode="json", exclude_none=True)
    kind = content.pop("kind", "")
    return ", ".join([kind, *(f"{key.replace('_', ' ')} {value}" for key, value in content.items())])
