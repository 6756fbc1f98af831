"""The report of stage `agreement`: how well scores agree with memorization, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.evaluation.agreement import MEASURES, Agreement, agreements, disagreements
from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.core.memorization.estimates import MEMORIZED
from memtrack.core.scores import title
from memtrack.data.variants import VariantData
from memtrack.report import figures
from memtrack.report.captions import caption
from memtrack.report.memorization_metrics import AgreementMetrics

SHOWN = 10
"""How many of the highest samples that are not memorized, and of the lowest that are, a picture shows."""
COLUMNS = [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]


@dataclass(frozen=True)
class AgreementReport:
    """Scores of a variant, each (N,), and its memorization, (N,), NaN if it is not known."""

    variant: VariantData
    scores: Mapping[str, NDArray[np.float64]]
    memorization: NDArray[np.float64]
    resampling: Resampling

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.memorization)

    @cached_property
    def _compared(self) -> tuple[dict[str, Agreement], dict[tuple[str, str], Agreement]]:
        scores = {key: values[self._known] for key, values in self.scores.items()}
        return agreements(scores, self.memorization[self._known], self.resampling)

    @cached_property
    def metrics(self) -> AgreementMetrics:
        """The content of metrics.json."""
        judged, differences = self._compared
        best, *others = judged
        return AgreementMetrics(
            samples=int(self._known.sum()),
            memorized=int((self.memorization[self._known] > MEMORIZED).sum()),
            resampled_from=self.resampling.subset(int(self._known.sum())),
            scores={key: _columns(found) for key, found in judged.items()},
            behind_best={key: _columns(differences[best, key]) for key in others},
        )

    def write(self, folder: Path) -> None:
        """Write the tables and the pictures to `folder`."""
        judged, differences = self._compared
        rows = [{"score": key, **_columns(found)} for key, found in judged.items()]
        pd.DataFrame(rows).to_csv(folder / "agreement.csv", index=False)
        paired = [
            {"better": better, "worse": worse, **_columns(found)}
            for (better, worse), found in differences.items()
        ]
        table = pd.DataFrame(paired, columns=["better", "worse", *COLUMNS])
        table.to_csv(folder / "differences.csv", index=False)
        self._draw(folder / "pictures")

    def _draw(self, folder: Path) -> None:
        variant, memorization = self.variant, self.memorization
        corrupted = variant.corrupted if variant.flags_known else None
        titled = {title(key): values for key, values in self.scores.items()}
        figures.scatters(titled, memorization, corrupted, folder / "scatter.png")
        names = variant.summary.classes
        for key, values in self.scores.items():
            rank = pd.Series(-values).where(self._known).rank(method="min")
            rows = np.concatenate(disagreements(values, memorization, SHOWN))
            captions = [
                caption(
                    variant.ids[row],
                    f"given {names[variant.given[row]]}",
                    f"mem {memorization[row]:.3f}, rank {rank[row]:.0f}",
                )
                for row in rows
            ]
            marked = variant.corrupted[rows].tolist()
            figures.contact_sheet(variant.read(rows), captions, marked, folder / f"disagree_{key}.png")


def _columns(found: Agreement) -> dict[str, float | None]:
    """The numbers pearson, pearson_low, pearson_high, ...; None if one is not defined."""
    numbers = [
        number
        for measure in MEASURES
        for number in (found[measure].value, found[measure].low, found[measure].high)
    ]
    return {name: None if np.isnan(number) else number for name, number in zip(COLUMNS, numbers, strict=True)}
