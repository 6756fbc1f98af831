"""What every source returns, before it is converted into the canonical form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrack.core.images.pixels import Pixels

if TYPE_CHECKING:
    import pandas as pd

LeftOut = dict[str, list[str]]
"""What is below root but is no sample: the paths for each reason."""


@dataclass(frozen=True)
class Collected:
    """The samples of a source, training split first, each split in a stable order.

    ids: stable names (N,). labels: class names (N,). splits: "train" or "test" (N,), or None if the
    source has no test split. classes: all class names in order. images: uint8 (N, channels, H, W) for
    sources that are arrays; None if the images are encoded. encoded: of such images where each is, see
    `ImagePlace` (N,); None if each id is the path of an image file relative to the source's root.
    left_out: what the source found and did not take. words: what people read of each sample in place of a
    picture, columns of text (N, columns).
    """

    ids: list[str]
    labels: list[str]
    splits: list[str] | None
    classes: tuple[str, ...]
    images: Pixels | None
    left_out: LeftOut = field(default_factory=dict)
    encoded: list[str] | None = None
    words: pd.DataFrame | None = None
