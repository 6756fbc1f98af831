"""Thumbnails of many images in a few large ones (sprite sheets), which a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from memtrack.core.images.pixels import Pixels, picture_shape
from memtrack.data.decoding import as_picture

COLUMNS, PER_SHEET = 32, 1024
"""The images in a row of a sheet, and in a sheet."""
LOSSLESS = 16
"""Up to this many pixels a side, coloured images are kept exactly; grey ones always are."""
BLOCK = 16
"""A lossy WebP works on blocks of this size: an image must not share one with its neighbour."""
QUALITY = 80


@dataclass(frozen=True)
class Sprites:
    """Images in sheets: PER_SHEET in each, COLUMNS in a row, in their order.

    Attributes:
        width, height: of an image. across, down: from one image to the next. All in pixels.
        sheets: WebP files in base64.
    """

    width: int
    height: int
    across: int
    down: int
    sheets: tuple[str, ...]


def sprites(
    read: Callable[[Sequence[int]], Pixels], rows: Sequence[int], shape: Sequence[int], longest: int
) -> Sprites:
    """Thumbnails of the images of `rows`.

    Args:
        read: the images of some rows, uint8 (B, channels, H, W).
        shape: of an image, (channels, H, W). longest: the longer side of a thumbnail; no image is enlarged.
    """
    channels, high, wide = picture_shape(shape)
    scale = min(1.0, longest / max(high, wide))
    width, height = max(1, round(wide * scale)), max(1, round(high * scale))
    lossless = channels == 1 or max(width, height) <= LOSSLESS
    step = 1 if lossless else BLOCK
    across, down = (-(-side // step) * step for side in (width, height))
    sheets = []
    for start in range(0, len(rows), PER_SHEET):
        part = rows[start : start + PER_SHEET]
        sheet = Image.new("RGB", (COLUMNS * across, -(-len(part) // COLUMNS) * down))
        for number, image in enumerate(read(part)):
            row, column = divmod(number, COLUMNS)
            sheet.paste(_thumbnail(image, (width, height)), (column * across, row * down))
        file = io.BytesIO()
        sheet.save(file, "webp", lossless=lossless, quality=QUALITY, method=4)
        sheets.append(base64.b64encode(file.getvalue()).decode())
    return Sprites(width, height, across, down, tuple(sheets))


def _thumbnail(image: Pixels, size: tuple[int, int]) -> Image.Image:
    found = as_picture(image).convert("RGB")
    return found if found.size == size else found.resize(size, Image.Resampling.LANCZOS)
