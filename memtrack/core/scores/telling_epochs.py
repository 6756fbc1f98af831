"""Which epochs of a training tell wrong labels from right ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrack.core.recording.trajectory import EpochArrays

SHARE = 0.9


class Telling(NamedTuple):
    """Recorded epochs. last: the last one before the network has memorized labels. middle: half-way between
    the most telling one and the last."""

    last: int
    middle: int


def telling(trajectory: EpochArrays) -> Telling:
    """The epochs in which the samples differ most, by the standard deviation of EL2N over the samples.

    It is small while the network knows nothing, large when it knows the classes and contradicts wrong labels,
    and small again once it has memorized these. It is averaged over three recorded epochs. The last telling
    epoch is the last one with at least 90% of the largest.

    Source: our own; see benchmarks/detection.py.
    """
    spread = np.array([values.std() for values in trajectory.each("error_norm")])
    padded = np.pad(spread, 1, constant_values=np.nan)
    smooth = np.nanmean([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    most = int(smooth.argmax())
    last = int(np.flatnonzero(smooth >= SHARE * smooth[most])[-1])
    return Telling(trajectory.epochs[last], trajectory.epochs[(most + last) // 2])
