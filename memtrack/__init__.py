"""memtrack: find the training samples that a network had to memorize.

This is the public interface, for use in any training loop. A name is imported at its
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
    from memtrack.integrations.recorder import Recorder

__all__ = [
    "SCORES",
    "ForwardDifference",
    "Need",
    "Recorder",
    "Trajectory",
    "compute",
    "curvature",
    "detection",
    "record_epoch",
]
_MODULES = {
    "SCORES": "core.scores",
    "ForwardDifference": "core.recording.curvature",
    "Need": "core.scores",
    "Recorder": "integrations.recorder",
    "Trajectory": "core.recording.trajectory",
    "compute": "core.scores",
    "curvature": "core.recording.curvature",
    "detection": "core.evaluation.detection",
    "record_epoch": "core.recording.recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'memtrack' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memtrack.{_MODULES[name]}"), name)
