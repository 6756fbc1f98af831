"""Images that are dark, light, blurry, low in information, or of odd size or shape, as cleanvision has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError
from memtrack.core.images.pixels import Pixels, is_vector
from memtrack.data.cells import Encoded, ImageFault, image_problems
from memtrack.data.decoding import RefusedImage, as_picture, fault_of, header
from memtrack.data.image_cache import CHUNK
from memtrack.data.prepared import READABLE
from memtrack.terminal.progress import Progress
from memtrack.terminal.workers import map_in_workers

if TYPE_CHECKING:
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

SEEN = ("dark", "light", "blurry", "low_information")
"""What is judged by the pixels that a network sees."""
SHAPES = ("odd_size", "odd_aspect_ratio")
"""What is judged by the size of the image file; a network sees all images in one size."""
USUAL = 0.5
"""A kind of issue that more than this share of the images has is how the data set is, and is not listed."""


@dataclass(frozen=True)
class ImageIssues:
    """What is wrong with some images.

    Attributes:
        found: for each kind of issue the rows of the images that have it, and cleanvision's score of each of
            them, from 0 (the worst) to 1.
        usual: the kinds that are not listed, with the share of the images that have them; see `USUAL`.
    """

    found: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    usual: dict[str, float]


def image_issues(parts: Iterable[Pixels], files: Sequence[Encoded] | None) -> ImageIssues:
    """The issues of the images, with the bounds of cleanvision. Vectors have none.

    Args:
        parts: all images in their order, some at a time, uint8 (B, channels, H, W). Feature vectors have no
            such issues.
        files: the file or the cell of each image; None if they are arrays, and have one size.

    Raises:
        InputError: with every encoded image that cannot be opened any more.
    """
    manager = _manager()
    table = pd.concat([pd.DataFrame(), *map_in_workers(_seen, parts)], ignore_index=True)
    if table.empty:
        return ImageIssues({}, {})
    kinds = [*SEEN, *(SHAPES if files is not None else ())]
    if files is not None:
        starts = Progress(range(0, len(files), CHUNK), "the sizes of the image files")
        opened = [*map_in_workers(_shapes, (files[start : start + CHUNK] for start in starts))]
        if faults := [fault for _, refused in opened for fault in refused]:
            raise InputError(image_problems(faults))
        table = table.join(pd.concat([shapes for shapes, _ in opened], ignore_index=True))
    manager.issues = pd.DataFrame(index=table.index)
    manager.update_issues(table, kinds)
    flags = {kind: manager.issues[f"is_{kind}_issue"].to_numpy() for kind in kinds}
    usual = {kind: float(flag.mean()) for kind, flag in flags.items() if flag.mean() > USUAL}
    scores = {kind: manager.issues[f"{kind}_score"].to_numpy(dtype=np.float64) for kind in kinds}
    rows = {kind: np.flatnonzero(flags[kind]) for kind in kinds if kind not in usual}
    return ImageIssues({kind: (found, scores[kind][found]) for kind, found in rows.items()}, usual)


@cache
def _manager() -> ImagePropertyIssueManager:
    """cleanvision's bounds; its import takes half a second."""
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

    return ImagePropertyIssueManager()


def _seen(images: Pixels) -> pd.DataFrame:
    """What cleanvision measures of the pixels of some images, a row each; no row for vectors."""
    if is_vector(images.shape[1:]):
        return pd.DataFrame()
    return pd.DataFrame(
        [_measured(as_picture(image), ("dark", "blurry", "low_information")) for image in images]
    )


def _shapes(files: Sequence[Encoded]) -> tuple[pd.DataFrame, list[ImageFault]]:
    """What it measures of the sizes of some encoded images, a row each, and those that cannot be opened."""
    measured, faults = [], []
    for file in files:
        try:
            measured.append(_measured(header(file), SHAPES))
        except (OSError, RefusedImage) as error:
            faults.append(fault_of(file, error, READABLE))
    return pd.DataFrame(measured), faults


def _measured(image: Any, kinds: Sequence[str]) -> dict[str, Any]:
    """What cleanvision measures of an image; that of "dark" is also that of "light"."""
    found: dict[str, Any] = {}
    for kind in kinds:
        found |= _manager().image_properties[kind].calculate(image)
    return found
