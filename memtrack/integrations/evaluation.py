"""What `memtrack evaluate` writes: tables, pictures and the page of a recorded training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import write_json
from memtrack.config.sections.report import ReportParams
from memtrack.core.images.pixels import Pixels
from memtrack.core.scores import Need
from memtrack.core.scores.neighbours import voters, voting_epochs
from memtrack.data.all_images import AllImages
from memtrack.data.tables import finder, read_table
from memtrack.data.variants import VariantData, VariantSummary
from memtrack.integrations.folder import EVALUATION, RecordedFolder
from memtrack.report.evaluation import Evaluation
from memtrack.report.page.content import content
from memtrack.report.page.page import write_page
from memtrack.report.page.results import Results
from memtrack.report.sample_tables import TABLE

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
PAGE = "index.html"
SHOWN = 3
"""So many ids are named in a message."""


class RecordedSamples(VariantData):
    """The samples of a recorder's folder, in the form that tables, pictures and the page take.

    Args:
        known: a table with the columns id and corrupted, maybe clean_label; None: nothing is known.

    Raises:
        InputError: if the table does not fit.
    """

    def __init__(self, recorded: RecordedFolder, known: Path | None = None) -> None:
        self.name = recorded.folder.resolve().name
        self.ids, self.images, self.given = recorded.ids, [""] * len(recorded.ids), recorded.labels
        self.row = {sample: number for number, sample in enumerate(self.ids)}
        self.copy_of, self.originals, self.stores = self.images, np.arange(len(self.ids)), {}
        self._recorded, classes = recorded, recorded.classes
        self._corrupted = np.zeros(len(self.ids), dtype=bool)
        self.clean = self.given.copy()
        if known is not None:
            self._read(known, classes)
        wrong = int(self._corrupted.sum())
        self.summary = VariantSummary(
            made_from={}, realized_rate=wrong / len(self.ids), samples=len(self.ids), corrupted=wrong,
            copies=0, pixels=None, classes=classes, transitions=[],
        )  # fmt: skip

    @property
    def causes(self) -> dict[str, Any]:
        """What identifies the samples and their labels."""
        return {"samples": self._recorded.identity}

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which samples are known to be corrupted, (N,)."""
        return self._corrupted

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Small images of `rows`, uint8 (len(rows), channels, height, width)."""
        images = self._recorded.images
        assert images is not None
        return images[np.asarray(rows, dtype=np.int64)]

    def _read(self, path: Path, classes: Sequence[str]) -> None:
        table = read_table(path)
        for name in ("id", "corrupted"):
            if name not in table:
                raise _mistake(path, f"has no column {name}: it should have the columns id and corrupted")
        find = finder(self.row)
        rows = [find(text) for text in table["id"]]
        for line, text, sample in zip(table.index, table["id"], rows, strict=True):
            if sample is None:
                raise _mistake(path, f"no sample has the id {text!r}", line)
        ids = pd.Series(rows, index=table.index)
        if ids.duplicated().any():
            raise _mistake(path, f"the id {ids[ids.duplicated()].iloc[0]!r} is there twice")
        if missing := [sample for sample in self.ids if sample not in set(rows)]:
            named = ", ".join(map(repr, missing[:SHOWN]))
            raise _mistake(path, f"{len(missing)} samples are missing, such as {named}: name every sample")
        places = np.array([self.row[str(sample)] for sample in rows])
        flags = _each(path, table["corrupted"], lambda text: _flag(text.strip().lower()))
        self._corrupted[places] = flags
        if "clean_label" in table:
            number = {name: place for place, name in enumerate(classes)}
            self.clean[places] = _each(path, table["clean_label"], lambda text: number.get(text.strip()))
            for sample in np.flatnonzero((self.clean != self.given) != self._corrupted)[:1]:
                text = f"corrupted and clean_label of {self.ids[sample]!r} do not agree"
                raise _mistake(path, f"{text}: its given label is {classes[self.given[sample]]!r}")
        else:
            self.clean[self._corrupted] = -1  # not known


class RecordedImages(AllImages):
    """The images of a recorder's folder, which has no test split."""

    def __init__(self, variant: VariantData) -> None:
        self._variant = variant
        self.first_test, self.ids = len(variant.ids), variant.ids
        self.splits = ["train"] * self.first_test
        self.labels = [variant.summary.classes[number] for number in variant.given]
        self.columns = None

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """The images of `rows`, uint8 (len(rows), channels, H, W)."""
        return self._variant.read(rows)


def evaluate(
    folder: Path, to: Path | None = None, known: Path | None = None, *, confidence: float, page: bool
) -> None:
    """Write what is known of a recorded training loop, and print it.

    Args:
        folder: that of the recorder. to: where the results go; None: `evaluation` below it.
        known: a table that says which samples are corrupted; see `RecordedSamples`.
        confidence: level of the intervals. page: whether to write the page.

    Raises:
        InputError: if the folder or the table cannot be used.
    """
    recorded = RecordedFolder(folder)
    if not recorded.trajectory.epochs:
        raise InputError([Problem(folder, message="no epoch was recorded")])
    samples, to = RecordedSamples(recorded, known), folder / EVALUATION if to is None else to
    found = Evaluation(
        samples,
        recorded.trajectory,
        recorded.scores,
        recorded.suggested,
        None,
        confidence,
        recorded.kinds,
        drawable=recorded.images is not None,
    )
    to.mkdir(parents=True, exist_ok=True)
    found.write(to)
    write_json(found.metrics, to / "metrics.json")
    best = sorted(found.metrics.scores, key=lambda name: -found.metrics.scores[name].auroc)
    lines = dict(zip(found.metrics.scores, found.metrics.score_lines(), strict=True))
    for text in [*(lines[name] for name in best), *found.metrics.in_words()]:
        print(text)
    print(f"all samples, the most suspect first: {to / TABLE}")
    (to / PAGE).unlink(missing_ok=True)
    if not page:
        return
    if recorded.images is None or Need.NEIGHBOURS not in recorded.evidence:
        why = "the samples are no images" if recorded.images is None else "no neighbours were recorded"
        print(f"there is no page: {why}")
        return
    write_page(content(_results(recorded, found), ReportParams(), recorded.images.shape[1:]), to / PAGE)
    print(f"look at them and decide: {to / PAGE}")


def _results(recorded: RecordedFolder, found: Evaluation) -> Results:
    """What the page shows."""
    trajectory, near, made = recorded.trajectory, recorded.evidence[Need.NEIGHBOURS], recorded.settings
    curvature = ", ".join(f"{name} {value}" for name, value in made.items())
    settings = (
        ("folder", str(recorded.folder)),
        ("recorded epochs", ", ".join(map(str, trajectory.epochs))),
        ("curvature", curvature.replace("scale", "h").replace("probes", "n")),
    )
    return Results(
        variant=found.variant,
        settings=settings,
        scores=found.score_table().sort_index(),
        trajectory=trajectory,
        neighbours=near.nearest(voters(near.among), voting_epochs(trajectory, near)[-1]),
        evaluated=found.metrics,
        learned=None,
        duplicated=None,
        roc=found.roc_table,
        review=found.review_table,
        duplicates=None,
        images=RecordedImages(found.variant),
        judged=None,
        issues=None,
        memorization=None,
    )


def _each(path: Path, cells: pd.Series[str], understood: Callable[[str], int | None]) -> list[int]:
    found = []
    for line, text in cells.items():
        value = understood(text)
        if value is None:
            what = "1 or 0" if cells.name == "corrupted" else "the name of a class"
            raise _mistake(path, f"{cells.name} is {text!r}: it should be {what}", line)
        found.append(value)
    return found


def _flag(text: str) -> int | None:
    return 1 if text in YES else 0 if text in NO else None


def _mistake(path: Path, text: str, line: object = None) -> InputError:
    return InputError([Problem(path, line if isinstance(line, int) else None, message=text)])
