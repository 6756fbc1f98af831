"""Suspects of a small variant, made without a training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from memtrack.report.exported import Suspect

CLASSES = ["cat", '<d"&og>', "eel"]
IDS = ["=a/0.png", "a/1.png", "a/2.png", "a/3 ü.png"]
GIVEN = [0, 1, 2, 0]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
VARIANT: Any = SimpleNamespace(
    name="noisy", ids=IDS, images=IDS, given=np.array(GIVEN),
    row={sample: row for row, sample in enumerate(IDS)},
    summary=SimpleNamespace(classes=CLASSES), read=lambda rows: PIXELS[np.asarray(rows)],
)  # fmt: skip


class Chosen(list[Suspect]):
    """Suspects as `memtrack.report.exported.Suspects` has them."""

    variant = VARIANT
    files: Any = None


def suspects(*, learned: bool = True) -> Any:
    return Chosen(
        Suspect(row, IDS[row], CLASSES[GIVEN[row]], suggested, rank, "rare", 0.5,
                0.9 / rank if learned else None, 0.8 if learned else None)
        for rank, (row, suggested) in enumerate([(2, CLASSES[1]), (0, ""), (3, "eel")], start=1)
    )  # fmt: skip
