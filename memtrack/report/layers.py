"""The results of stage layers: accuracies without a layer, and without small weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.evaluation.detection import auroc
from memtrack.core.memorization.estimates import MEMORIZED
from memtrack.core.memorization.layers import pruned_away
from memtrack.data.variants import VariantData
from memtrack.report.figures import accuracy_lines
from memtrack.report.memorization_metrics import LayersMetrics, LinearMetrics
from memtrack.report.sample_tables import write_csv

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
TOP = 0.1
"""The share of the samples that counts as memorized."""


@dataclass(frozen=True)
class LinearLayers:
    """What linear classifiers memorize of each sample, (N,), NaN where no classifier was trained without it.

    Attributes:
        models: the number of classifiers.
        seen: on the features of the network. unseen: on those of a network that was not trained on the
            sample.
    """

    models: int
    seen: Values
    unseen: Values

    def metrics(self, memorized: Flags) -> LinearMetrics:
        """The numbers in metrics.json; `memorized` are those that count as memorized, (N,)."""
        return LinearMetrics(
            models=self.models,
            seen=int((self.seen > MEMORIZED).sum()),
            unseen=int((self.unseen > MEMORIZED).sum()),
            seen_memorized=float(np.nanmean(self.seen[memorized])),
            unseen_memorized=float(np.nanmean(self.unseen[memorized])),
        )


@dataclass(frozen=True)
class LayersReport:
    """Which samples a network still gets right without a part of it.

    Attributes:
        memorized: which samples count as memorized, (N,).
        whole: the samples that the whole network gives their label, (N,).
        rewound: the same for the network without each layer, by its name.
        pruned: the same for each share of pruned weights, ascending.
        linear: what last layers memorize; None: not asked for.
    """

    variant: VariantData
    memorized: Flags
    whole: Flags
    rewound: Mapping[str, Flags]
    pruned: Mapping[float, Flags]
    linear: LinearLayers | None = None

    @property
    def groups(self) -> dict[str, Flags]:
        """The samples that are compared, by what they are."""
        found = {"memorized": self.memorized, "others": ~self.memorized}
        if self.variant.flags_known and 0 < self.variant.corrupted.sum() < len(self.memorized):
            found |= {"corrupted": self.variant.corrupted, "clean": ~self.variant.corrupted}
        return found

    def accuracies(self, column: str, right: Mapping[str, Flags] | Mapping[float, Flags]) -> pd.DataFrame:
        """The share of each group that is given its label: a row for each network."""
        return pd.DataFrame(
            [
                {column: name, **{group: flags[members].mean() for group, members in self.groups.items()}}
                for name, flags in right.items()
            ]
        )

    @property
    def away(self) -> NDArray[np.float64]:
        """See `memtrack.core.memorization.layers.pruned_away`."""
        return pruned_away(np.stack([self.whole, *self.pruned.values()]), list(self.pruned))

    def samples(self) -> pd.DataFrame:
        """A row for each sample."""
        known: Sequence[Flags] = [self.whole & ~right for right in self.rewound.values()]
        table = pd.DataFrame(
            {
                "id": self.variant.ids,
                "memorized": self.memorized.astype(int),
                "lost_layers": np.sum(known, axis=0),
                "pruned_away": self.away,
            }
        )
        if self.linear is not None:
            table["linear_seen"], table["linear_unseen"] = self.linear.seen, self.linear.unseen
        return table

    @property
    def metrics(self) -> LayersMetrics:
        """The content of metrics.json."""
        table = self.accuracies("layer", self.rewound)
        row = table.iloc[int((table["others"] - table["memorized"]).to_numpy().argmax())]
        found = self.variant.corrupted if "corrupted" in self.groups else None
        return LayersMetrics(
            samples=len(self.memorized),
            layers=len(self.rewound),
            layer=row["layer"],
            memorized=row["memorized"],
            others=row["others"],
            pruning_auroc=None if found is None else auroc(found, -self.away),
            linear=None if self.linear is None else self.linear.metrics(self.memorized),
        )

    def write(self, folder: Path) -> None:
        """Write the tables and pictures."""
        folder.mkdir(parents=True, exist_ok=True)
        by_layer = self.accuracies("layer", {"(none)": self.whole, **self.rewound})
        by_share = self.accuracies("pruned", {0.0: self.whole, **self.pruned})
        write_csv(by_layer, folder / "layers.csv")
        write_csv(by_share, folder / "pruning.csv")
        write_csv(self.samples(), folder / "samples.csv")
        pictures = folder / "pictures"
        accuracy_lines(
            by_layer, "layer", "the layer with the weights from before the training",
            "Which layer holds what is memorized?", pictures / "layers.png",
        )  # fmt: skip
        accuracy_lines(
            by_share, "pruned", "share of the smallest weights that are set to zero",
            "What is forgotten first?", pictures / "pruning.png",
        )  # fmt: skip
