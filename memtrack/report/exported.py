"""The most suspect samples, as other programs take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from memtrack.config.params import Params
from memtrack.config.paths import EVALUATE_RESULTS
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.sample_tables import read_scores, score_names
from memtrack.runs.causes import evaluation_causes


@dataclass(frozen=True)
class Suspect:
    """A sample. row: in the variant. rank: from 1, the most suspect first. suggested: another label, or ''.
    kind: what it seems to be, see `memtrack.core.scores.suspicion.kinds`. mislabelled: the probability that
    its label is wrong, and chance: that the suggested one is right; None if they were not learned."""

    row: int
    id: str
    given: str
    suggested: str
    rank: int
    kind: str
    suspicion: float
    mislabelled: float | None
    chance: float | None


class Suspects:
    """The most suspect samples of a variant, the most suspect first.

    Attributes:
        files: the file of each image of the variant, (N,); None if they are not in files.
    """

    def __init__(self, params: Params, name: str, count: int) -> None:
        self.data = PreparedData.current(params.data)
        self.data.keep_decoded(params.compute.image_cache_bytes)
        self.variant = VariantData(name, self.data)
        made_from = evaluation_causes(params, self.variant)
        scores = read_scores(EVALUATE_RESULTS / name, self.variant, made_from)
        self._order = score_names(scores)[0]
        self._table = scores.sort_values(f"{self._order}_rank", kind="stable").head(count)
        changed = self.variant.pixels is not None  # then the files are not what the network sees
        self.files: list[Path] | None = None if changed else self.data.image_files(self.variant.images)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Suspect]:
        learned = "mislabelled" in self._table
        for row, cells in self._table.iterrows():
            yield self._suspect(int(str(row)), cells, learned)

    def _suspect(self, row: int, cells: pd.Series, learned: bool) -> Suspect:
        return Suspect(
            row,
            cells["id"],
            cells["given_label"],
            cells["suggested_label"],
            int(cells[f"{self._order}_rank"]),
            cells["kind"],
            float(cells[self._order]),
            float(cells["mislabelled"]) if learned else None,
            float(cells["suggested_probability"]) if learned else None,
        )
