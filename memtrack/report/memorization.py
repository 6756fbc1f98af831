"""The report of stage `memorization`: tables, metrics and pictures of memorization and influence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from memtrack.core.evaluation.detection import auroc
from memtrack.core.images.pixels import dtype_of
from memtrack.core.memorization.estimates import MEMORIZED, Counts, InfluentialPairs
from memtrack.core.memorization.membership import Attack
from memtrack.core.memorization.subsets import Flags
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report import figures
from memtrack.report.captions import caption
from memtrack.report.memorization_metrics import MemorizationMetrics, PrivacyMetrics
from memtrack.report.sample_tables import LIRA, write_csv

SHEET = 50
"""The number of images on a contact sheet."""


@dataclass(frozen=True)
class MemorizationReport:
    """The estimate for a variant.

    Attributes:
        counts: the counts over the networks. pairs: the influential pairs.
        right: which test samples each network predicts correctly, (K, T).
        attack: the likelihood-ratio attack on the networks; None if it is not wanted.
    """

    data: PreparedData
    variant: VariantData
    counts: Counts
    pairs: InfluentialPairs
    right: Flags
    attack: Attack | None = None

    @cached_property
    def metrics(self) -> MemorizationMetrics:
        """The content of metrics.json."""
        counts, errors, accuracy = self.counts, self.counts.standard_error, self.right.mean(axis=1)
        memorized = counts.memorization > MEMORIZED
        return MemorizationMetrics(
            models=counts.networks,
            median_standard_error=float(np.median(errors)),
            median_standard_error_memorized=float(np.median(errors[memorized])) if memorized.any() else None,
            mean_memorization=float(np.nanmean(counts.memorization)),
            memorized=int(memorized.sum()),
            influential_pairs=int(self.pairs.count.sum()),
            sure_pairs=int(self.pairs.sure.sum()),
            influenced_tests=int((self.pairs.sure > 0).sum()),
            test_accuracy=float(accuracy.mean()),
            test_accuracy_sd=float(accuracy.std(ddof=1)),
            privacy=None if self.attack is None else self._privacy(self.attack),
        )

    def _privacy(self, attack: Attack) -> PrivacyMetrics:
        wrong, memorization = self.variant.corrupted, self.counts.memorization
        known = ~np.isnan(attack.lira) & ~np.isnan(memorization)
        told = self.variant.flags_known and known.all()
        agreement = spearmanr(attack.lira[known], memorization[known])[0] if known.sum() > 1 else np.nan
        numbers = {
            "attack_auroc": attack.auroc,
            "attack_true_positives": attack.true_positives,
            "spearman": float(agreement),
            "auroc": auroc(wrong, attack.lira) if told else np.nan,
        }
        measured = {name: None if np.isnan(value) else value for name, value in numbers.items()}
        return PrivacyMetrics(side=attack.side, **measured)

    @cached_property
    def sample_table(self) -> pd.DataFrame:
        """memorization.csv: a row per training sample, the most memorized first; trained and left_out are the
        numbers of networks that were trained with and without it."""
        variant, counts = self.variant, self.counts
        names = np.asarray(variant.summary.classes, dtype=object)
        table = pd.DataFrame(
            {
                "id": variant.ids,
                "given_label": names[variant.given],
                "corrupted": variant.corrupted.astype(int) if variant.flags_known else "",
                "memorization": counts.memorization,
                "standard_error": counts.standard_error,
                "out_of_sample": counts.out_of_sample,
                "trained": counts.trained[0],
                "left_out": counts.trained[1],
            }
        )
        if self.attack is not None:
            table[LIRA] = self.attack.lira
        return table.sort_values("memorization", ascending=False, kind="stable")

    @cached_property
    def influence_table(self) -> pd.DataFrame:
        """influence.csv: the pairs with the largest influence."""
        variant, found, held = self.variant, self.pairs, self.data.split("test")
        names = np.asarray(variant.summary.classes, dtype=object)
        return pd.DataFrame(
            {
                "train_id": np.asarray(variant.ids, dtype=object)[found.train],
                "test_id": held["id"].to_numpy()[found.test],
                "given_label": names[variant.given[found.train]],
                "test_label": held["label"].to_numpy()[found.test],
                "influence": found.influence,
                "standard_error": found.standard_error,
                "memorization": self.counts.memorization[found.train],
            }
        )

    def test_table(self) -> pd.DataFrame:
        """test.csv: a row per test sample, with the share of networks that predict it correctly, and the
        number of its influential pairs: of all, and of those with an influence beyond the noise."""
        held = self.data.split("test")
        return pd.DataFrame(
            {
                "id": held["id"],
                "label": held["label"],
                "right": self.right.mean(axis=0),
                "pairs": self.pairs.count,
                "sure_pairs": self.pairs.sure,
            }
        )

    def write(self, folder: Path) -> None:
        """Write the tables and the pictures to `folder`."""
        write_csv(self.sample_table, folder / "memorization.csv")
        write_csv(self.influence_table, folder / "influence.csv")
        write_csv(self.test_table(), folder / "test.csv")
        pictures, known = folder / "pictures", self.variant.flags_known
        corrupted = (self.sample_table["corrupted"] == 1).to_numpy() if known else None
        values = self.sample_table["memorization"].to_numpy()
        figures.memorization_histogram(values, corrupted, MEMORIZED, pictures / "memorization.png")
        self._draw_memorized(pictures / "most_memorized.png")
        self._draw_influence(pictures / "influence.png")

    def _draw_memorized(self, path: Path) -> None:
        top = self.sample_table.head(SHEET)
        captions = [
            caption(
                row.id, f"given {row.given_label}", f"mem {row.memorization:.2f} ± {row.standard_error:.2f}"
            )
            for row in top.itertuples()
        ]
        rows = [self.variant.row[sample] for sample in top["id"]]
        marked = self.variant.corrupted[rows].tolist()
        figures.contact_sheet(self.variant.read(rows), captions, marked, path)

    def _draw_influence(self, path: Path) -> None:
        """Draw the training sample and the test sample of each pair side by side."""
        first = self.influence_table.head(SHEET // 2)
        rows = [self.variant.row[sample] for sample in first["train_id"]]
        test_images = self.data.split("test").set_index("id")["image"]
        images = np.empty((2 * len(first), *self.data.info.shape), dtype=dtype_of(self.data.info.shape))
        images[::2] = self.variant.read(rows)
        images[1::2] = self.data.images(test_images[first["test_id"]].tolist())
        captions = [
            text
            for row in first.itertuples()
            for text in (
                caption(row.train_id, f"given {row.given_label}", f"mem {row.memorization:.2f}"),
                caption(
                    row.test_id,
                    str(row.test_label),
                    f"infl {row.influence:.2f} ± {row.standard_error:.2f}",
                    before="test: ",
                ),
            )
        ]
        marked = np.zeros(len(images), dtype=bool)
        marked[::2] = self.variant.corrupted[rows]
        figures.contact_sheet(images, captions, marked.tolist(), path)
