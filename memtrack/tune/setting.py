"""The setting that a trial tries."""

from __future__ import annotations

from dataclasses import dataclass

from memtrack.core.recording.curvature import Norm


@dataclass(frozen=True)
class Setting:
    """What a trial tries: h, n, the norm, the score that combines the epochs, and the epochs."""

    perturbation_scale: float
    probes: int
    norm: Norm
    score: str
    epochs: tuple[int, ...]
