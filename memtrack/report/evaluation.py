"""The report of stage `evaluate`: tables, metrics and pictures of the scores of a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.evaluation.detection import (
    FEW,
    Detection,
    Difference,
    auroc,
    auroc_by_class,
    compare,
    found_after,
    roc_points,
)
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores import ranks, title
from memtrack.data.variants import VariantData
from memtrack.report import figures
from memtrack.report.captions import caption
from memtrack.report.metrics import ConflictMetrics, EvaluateMetrics, HeldOutMetrics, ScoreMetrics
from memtrack.report.sample_tables import TABLE, write_csv

Scores = Mapping[str, NDArray[np.float64]]
CORNERS = 1000
"""The largest number of points that are kept of a ROC curve."""
LOOKED_AT = (100, 200, 500, 1000)
"""Numbers of samples that review.csv has in any case."""
SHEET = 50
"""The number of images on the contact sheet."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a variant, each (N,), the label that is suggested for each sample in place of the given
    one, int64 (N,) (-1: none), and everything that they are evaluated with."""

    variant: VariantData
    trajectory: EpochArrays
    scores: Scores
    suggested: NDArray[np.int64]
    test_accuracy: float | None
    confidence: float
    kinds: NDArray[np.object_]
    """What each sample seems to be, (N,); see `memtrack.core.scores.suspicion.kinds`."""
    probabilities: Scores = field(default_factory=dict)
    """Columns of scores.csv with probabilities; see `memtrack.report.sample_tables.LEARNED`."""
    drawable: bool = True
    """Whether the samples are images that can be drawn."""
    test: HeldOutMetrics | None = None

    @property
    def corrupted(self) -> NDArray[np.bool_] | None:
        """Which samples are corrupted, (N,); None if this is not known."""
        return self.variant.corrupted if self.variant.flags_known else None

    @cached_property
    def _compared(self) -> tuple[dict[str, Detection], dict[tuple[str, str], Difference]]:
        if self.corrupted is None:
            return {}, {}
        return compare(self.corrupted, self.scores, self.confidence)

    @cached_property
    def metrics(self) -> EvaluateMetrics:
        """The content of metrics.json."""
        judged, differences = self._compared
        best = max(judged, key=lambda key: judged[key].auroc, default="")
        wrong = self.variant.corrupted
        return EvaluateMetrics(
            samples=len(wrong),
            corrupted=int(wrong.sum()),
            test_accuracy=self.test_accuracy,
            scores={
                key: ScoreMetrics(**asdict(found), **_behind(differences.get((best, key))))
                for key, found in judged.items()
            },
            conflicts=self._conflicts(),
            test=self.test,
            warnings=self._warnings(),
        )

    def _warnings(self) -> tuple[str, ...]:
        if self.corrupted is None:
            return ()
        wrong = int(self.corrupted.sum())
        right = len(self.corrupted) - wrong
        if min(wrong, right) >= FEW:
            return ()
        kind = "corrupted" if wrong <= right else "clean"
        return (f"{min(wrong, right)} {kind} samples are too few for a reliable AUROC (fewer than {FEW})",)

    def _conflicts(self) -> ConflictMetrics | None:
        """What the network predicts for copies with another label; None if there are no such copies."""
        variant = self.variant
        # other noise may have made the labels of a pair equal
        copies = np.flatnonzero(variant.given[variant.originals] != variant.given)
        originals = variant.originals[copies]
        if not len(copies):
            return None
        predicted = self.trajectory.last("predicted")[copies]
        original, copy = predicted == variant.given[originals], predicted == variant.given[copies]
        both = np.zeros(len(variant.ids), dtype=bool)
        both[originals] = both[copies] = True
        return ConflictMetrics(
            pairs=len(copies),
            prefers_original=float(original.mean()),
            prefers_copy=float(copy.mean()),
            prefers_neither=float((~original & ~copy).mean()),
            auroc_of_both={key: auroc(both, values) for key, values in self.scores.items()},
        )

    def score_table(self) -> pd.DataFrame:
        """scores.csv: a row per training sample, sorted by the first score, the highest first."""
        variant, known = self.variant, self.variant.flags_known
        names = np.asarray(variant.summary.classes, dtype=object)
        columns: dict[str, object] = {
            "id": variant.ids,
            "image": variant.images,
            "given_label": names[variant.given],
            "clean_label": names_of(variant.clean, names) if known else "",
            "predicted_label": names[self.trajectory.last("predicted")],
            "suggested_label": names_of(self.suggested, names),
            "kind": self.kinds,
            "corrupted": variant.corrupted.astype(int) if known else "",
            **self.probabilities,
        }
        for key, values in self.scores.items():
            columns[key] = values
            columns[f"{key}_rank"] = ranks(values)
        return pd.DataFrame(columns).sort_values(f"{next(iter(self.scores))}_rank")

    def difference_table(self) -> pd.DataFrame:
        """differences.csv: the difference of each pair of scores, with its paired interval."""
        rows = [
            (better, worse, found.difference, found.low, found.high)
            for (better, worse), found in self._compared[1].items()
        ]
        return pd.DataFrame(rows, columns=["better", "worse", "difference", "low", "high"])

    def class_table(self) -> pd.DataFrame:
        """classes.csv: for each given label the number of samples, of corrupted ones, and the AUROC of each
        score among them. The AUROC is empty for a label with fewer than `FEW` clean or corrupted samples. If
        the corrupted samples are not known, the table has only the number of samples."""
        given, names, corrupted = self.variant.given, self.variant.summary.classes, self.corrupted
        counts = np.bincount(given, minlength=len(names))
        table: dict[str, object] = {"given_label": names, "samples": counts}
        if corrupted is not None:
            wrong = np.bincount(given[corrupted], minlength=len(names))
            table["corrupted"] = wrong
            few = np.minimum(wrong, counts - wrong) < FEW
            for key, values in self.scores.items():
                found = auroc_by_class(corrupted, values, given, classes=len(names))
                table[key] = np.where(few, np.nan, found)
        return pd.DataFrame(table)

    @cached_property
    def roc_table(self) -> pd.DataFrame:
        """roc.csv: at most `CORNERS` points of each curve; no rows if the corrupted samples are not known."""
        columns = ["score", "false_positive_rate", "true_positive_rate"]
        if self.corrupted is None:
            return pd.DataFrame(columns=columns)
        curves = []
        for key, values in self.scores.items():
            found = (key, *roc_points(self.corrupted, values))
            points = pd.DataFrame(dict(zip(columns, found, strict=True)))
            shown = np.unique(np.linspace(0, len(points) - 1, CORNERS).round().astype(int))
            curves.append(points.iloc[shown])
        return pd.concat(curves)

    @cached_property
    def review_table(self) -> pd.DataFrame:
        """review.csv: how many corrupted samples somebody finds who looks at so many, in the best possible
        order, in a random one, and in that of each score. It has no rows if they are not known."""
        columns = ["looked_at", "best", "random", *self.scores]
        if self.corrupted is None:
            return pd.DataFrame(columns=columns)
        count, wrong = len(self.corrupted), int(self.corrupted.sum())
        steps = np.geomspace(10, max(count, 10), 30).round().astype(int)
        looked = np.unique(np.concatenate([steps, LOOKED_AT, [count]]))
        looked = looked[looked <= count]
        orders = {key: found_after(self.corrupted, values, looked) for key, values in self.scores.items()}
        best, random = np.minimum(looked, wrong), looked * wrong / count
        return pd.DataFrame({"looked_at": looked, "best": best, "random": random, **orders})

    def write(self, folder: Path) -> None:
        """Write the tables and the pictures to `folder`."""
        write_csv(self.score_table(), folder / TABLE)
        self.difference_table().to_csv(folder / "differences.csv", index=False)
        write_csv(self.class_table(), folder / "classes.csv")
        self.roc_table.to_csv(folder / "roc.csv", index=False)
        self.review_table.to_csv(folder / "review.csv", index=False)
        self._draw(folder / "pictures")

    def _draw(self, folder: Path) -> None:
        corrupted = self.corrupted
        titles = {key: title(key) for key in self.scores}
        if corrupted is not None:
            aurocs = {key: judged.auroc for key, judged in self.metrics.scores.items()}
            figures.roc_curves(self.roc_table, aurocs, titles, folder / "roc.png")
            figures.review_curves(self.review_table, aurocs, titles, folder / "review.png")
        titled = {titles[key]: values for key, values in self.scores.items()}
        figures.histograms(titled, corrupted, folder / "histograms.png")
        curvature = self.trajectory.each("curvature")
        figures.curvature_by_epoch(self.trajectory.epochs, curvature, corrupted, folder / "curvature.png")

        for key in {next(iter(self.scores)), "curvature"} & set(self.scores) if self.drawable else ():
            self._draw_highest(key, folder / f"highest_{key}.png")

    def _draw_highest(self, key: str, path: Path) -> None:
        """Draw the samples of the highest score, with their given and their suggested labels."""
        variant, names = self.variant, self.variant.summary.classes
        suggested = names_of(self.suggested, np.asarray(names, dtype=object))
        top = np.argsort(-self.scores[key], kind="stable")[:SHEET]
        captions = [
            caption(
                variant.ids[row],
                f"given {names[variant.given[row]]}",
                f"suggested {suggested[row] or 'none'}",
            )
            for row in top
        ]
        figures.contact_sheet(variant.read(top), captions, variant.corrupted[top].tolist(), path)


def names_of(numbers: NDArray[np.int64], names: NDArray[np.object_]) -> NDArray[np.object_]:
    """The names of classes (N,); empty for -1, where there is none."""
    return np.where(numbers < 0, "", names[numbers])


def _behind(found: Difference | None) -> dict[str, float]:
    """How far a score is behind the best one; 0 for None, which is the best one itself."""
    numbers = (0.0, 0.0, 0.0) if found is None else (found.difference, found.low, found.high)
    return dict(zip(("behind_best", "behind_best_low", "behind_best_high"), numbers, strict=True))
