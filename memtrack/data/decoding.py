"""Decode image files into arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from memtrack.core.images.pixels import Pixels

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"})


def decode(path: Path, *, size: int, mode: str) -> Pixels:
    """The image as uint8 (channels, size, size), turned upright and resized (bilinear).

    Raises:
        OSError: if the file is not a complete image; its text is the reason.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode == "F":
                raise OSError("the pixels are 32-bit floats: save the image with 8 or 16 bits")
            if image.mode.startswith("I"):  # 16 bits per pixel: Pillow would clip them at 255
                image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
            pixels = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
    except OSError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for broken files
        raise OSError(f"{type(error).__name__}: {error}") from error
    return np.ascontiguousarray(channels_first(pixels[None])[0])


def channels_first(images: Pixels) -> Pixels:
    """Convert grey (N, H, W) or colour (N, H, W, 3) images to (N, channels, H, W)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
