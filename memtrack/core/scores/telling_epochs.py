"""Which epochs of a training tell wrong labels from right ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrack.core.recording.trajectory import EpochArrays, HeldOutTrajectory

SHARE, VOTING = 0.9, 4


class Telling(NamedTuple):
    """Recorded epochs. last: the last telling one. early: at most `VOTING`, evenly spaced from the first
    telling one to the one half-way between the most telling one and the last."""

    last: int
    early: tuple[int, ...]


def telling(trajectory: EpochArrays) -> Telling:
    """The epochs in which the samples differ most, by the standard deviation of EL2N over the samples.

    It is small while the network knows nothing, large when it knows the classes and contradicts wrong labels,
    and small again once it has memorized these. It is averaged over three recorded epochs. An epoch with at
    least 90% of the largest is telling. For held-out samples these are the epochs of the training samples.

    Source: our own, chosen on digits and CIFAR-10.
    """
    if isinstance(trajectory, HeldOutTrajectory):
        trajectory = trajectory.training
    spread = np.array([values.std() for values in trajectory.each("error_norm")])
    padded = np.pad(spread, 1, constant_values=np.nan)
    smooth = np.nanmean([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    most, found = int(smooth.argmax()), np.flatnonzero(smooth >= SHARE * smooth.max())
    early = np.linspace(found[0], (most + found[-1]) // 2, VOTING).round().astype(int)
    epochs = np.array(trajectory.epochs)
    return Telling(int(epochs[found[-1]]), tuple(np.unique(epochs[early]).tolist()))
