"""memtrack: find the training samples that a network had to memorize.

This is the public interface of the core, for use in any training loop. A name is imported at its
first use, so `import memtrack` loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrack.core.evaluation.detection import detection
    from memtrack.core.recording.curvature import ForwardDifference, curvature
    from memtrack.core.recording.recorder import record_epoch
    from memtrack.core.recording.trajectory import Trajectory
    from memtrack.core.scores import SCORES, Need, compute

__all__ = [
    "SCORES",
    "ForwardDifference",
    "Need",
    "Trajectory",
    "compute",
    "curvature",
    "detection",
    "record_epoch",
]
_MODULES = {
    "SCORES": "scores",
    "ForwardDifference": "recording.curvature",
    "Need": "scores",
    "Trajectory": "recording.trajectory",
    "compute": "scores",
    "curvature": "recording.curvature",
    "detection": "evaluation.detection",
    "record_epoch": "recording.recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'memtrack' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memtrack.core.{_MODULES[name]}"), name)
