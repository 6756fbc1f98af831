"""Why a sample is suspect: facts from the tables, in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.images.pixels import Pixels
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.data.all_images import AllImages

LATE = 0.9
"""A label is learned late if it is learned later than this share of the labels that are learned."""
Rows = NDArray[np.int64]


class Learning:
    """When the network predicted the given labels.

    Args:
        given: the given labels, int64 (N,).

    Attributes:
        since: the recorded epoch from which on the given label is predicted until the end, (N,); 0 if it is
            not predicted at the end. agreed: the number of recorded epochs that predict it, (N,).
    """

    def __init__(self, trajectory: EpochArrays, given: Rows) -> None:
        self._trajectory = trajectory
        self.since, self.agreed = np.zeros((2, len(given)), dtype=np.int64)
        for epoch in trajectory.epochs:
            same = trajectory.load("predicted", epoch) == given
            self.agreed += same
            self.since = np.where(same, np.where(self.since, self.since, epoch), 0)

    @cached_property
    def _learned(self) -> Rows:
        return np.sort(self.since[self.since > 0])

    def sentence(self, row: int, given: int, predicted: Rows, names: Sequence[str]) -> str:
        """What the network made of the label of a sample; empty if it was learned as most others.

        Args:
            predicted: its predicted class in each recorded epoch, (T,).
        """
        epochs, since = len(predicted), int(self.since[row])
        classes, counts = np.unique(predicted, return_counts=True)
        most, often = classes[counts.argmax()], counts.max()
        said = f"in {often} of {epochs} recorded epochs the network says {names[most]}"
        if not self.agreed[row]:
            return f"Its label was never learned: {said}."
        if not since:
            end = names[predicted[-1]]
            return f"Its label was learned and lost again; at the end the network says {end}."
        earlier = np.searchsorted(self._learned, since) / len(self._learned)
        late = f"Its label was learned late, at epoch {since}" if earlier >= LATE else ""
        if late and most != given:
            return f"{late}: {said}."
        if late:
            return f"{late}, after {math.floor(100 * earlier)}% of the others."
        return f"{said[0].upper()}{said[1:]}." if most != given else ""


def prediction_sentence(predicted: Rows, given: int, names: Sequence[str]) -> str:
    """What networks that have not seen a sample say of it; empty if most of them say `given`. `predicted`: in
    each recorded epoch, (T,)."""
    classes, counts = np.unique(predicted, return_counts=True)
    most, often = classes[counts.argmax()], counts.max()
    if most == given:
        return ""
    return f"In {often} of {len(predicted)} recorded epochs the network says {names[most]}."


def neighbour_sentence(labels: Rows, given: int, names: Sequence[str]) -> str:
    """What the neighbours are labelled; empty if there are none. `labels`: of the neighbours, (K,)."""
    if not len(labels):
        return ""
    classes, counts = np.unique(labels, return_counts=True)
    most, often = classes[counts.argmax()], counts.max()
    if most == given:
        return f"{often} of its {len(labels)} nearest neighbours have its label."
    return f"{often} of its {len(labels)} nearest neighbours are labelled {names[most]}."


def leak_sentence(images: AllImages, row: int, other: int) -> str:
    """Which test sample is the same image as a training sample; both by their rows."""
    one, two = images.read([row, other])
    what = "Same image as" if np.array_equal(one, two) else "Nearly the same image as"
    return f"{what} {images.ids[other]} of the test split, which is labelled {images.labels[other]}."


def conflict_sentences(
    duplicates: pd.DataFrame,
    row: dict[str, int],
    given: Rows,
    names: Sequence[str],
    read: Callable[[Sequence[int]], Pixels],
) -> dict[int, str]:
    """For each row of a sample with duplicates under other labels: which one, and how it is labelled.

    Args:
        duplicates: id, group and conflicting of the samples that have duplicates, group by group.
        read: the images of rows.
    """
    found = {}
    for _, group in duplicates[duplicates["conflicting"]].groupby("group", sort=False):
        ids = group["id"].tolist()
        rows = [row[sample] for sample in ids]
        pixels = [image.tobytes() for image in read(rows)]
        for own, image in zip(rows, pixels, strict=True):
            others = [
                (image != mate, sample, given[other])
                for sample, other, mate in zip(ids, rows, pixels, strict=True)
                if given[other] != given[own]
            ]
            if others:
                different, sample, label = min(others, key=lambda other: other[0])
                what = "Nearly the same image as" if different else "Same image as"
                more = f", and {len(others) - 1} more" if len(others) > 1 else ""
                found[own] = f"{what} {sample}, which is labelled {names[label]}{more}."
    return found
