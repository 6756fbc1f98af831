"""Decode image files into arrays."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from memtrack.core.images.pixels import Pixels, pictures
from memtrack.data.cells import Cell, Encoded, ImageFault

NO_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow recognizes but does not decode itself: EPS would start another program."""
PLUGINS = {
    "pillow_heif": ("register_heif_opener", "pillow-heif", (".heic", ".heif", ".hif")),
    "pillow_avif": (None, "pillow-avif-plugin", (".avif", ".avifs")),
    "pillow_jxl": (None, "pillow-jxl-plugin", (".jxl",)),
}
"""Packages that add formats to Pillow: module, function to call, name on PyPI, extensions."""
DEPTHS = (8, 10, 12, 14, 16)
"""The bits per channel that images of more than 8 bits may use."""
LARGE = 100_000_000
"""A JPEG file of more pixels is decoded at a lower resolution, as the format allows."""
TEXT_LIMIT = 64 * 2**20
"""The longest text in a PNG file, in bytes. Pillow's own limit of 1 MiB refuses real photographs."""
WHITE = (255, 255, 255)
OTHER_FILES = {
    b"<!doctype html": "it is a page of HTML: download the image itself",
    b"<html": "it is a page of HTML: download the image itself",
    b"<svg": "it is a drawing (SVG): save it as PNG",
    b"<?xml": "it is XML, perhaps a drawing (SVG): save it as PNG",
    b"%pdf": "it is a PDF: save its images as PNG",
    b"pk\x03\x04": "it is a zip file: unpack it",
}
"""How other files begin that have the extension of an image, in small letters, and what to do."""
DAMAGED = "is damaged, or another table than it was: copy or save it again"
PHOTOMETRIC = 262
"""The TIFF tag that says whether 0 is black or white. Pillow heeds it for up to 8 bits."""


class BrokenImage(OSError):
    """The file is damaged, or no image; the text is the reason."""


class RefusedImage(Exception):
    """The file is whole, but it cannot be used as it is; the text says why and what to do."""


class DeepImage(RefusedImage):
    """The image has more than 8 bits per channel, and it is not known how many of them are used."""

    def __init__(self, peak: int) -> None:
        super().__init__("has more than 8 bits per channel, which no image had in stage prepare")
        self.peak = peak


class RefusedTable(RefusedImage):
    """The table that holds the image cannot be read, so none of its images can be."""


@dataclass(frozen=True)
class Seen:
    """What was seen in an image file besides the pixels.

    transparent: whether it has transparent pixels. several_frames: whether it is an animation or has several
    pages, of which only the first is used.
    """

    transparent: bool = False
    several_frames: bool = False


@cache
def extensions() -> frozenset[str]:
    """The extensions of the image files that Pillow decodes, with the plugins that are installed."""
    _register_plugins()
    registered = Image.registered_extensions()
    return frozenset(end for end, kind in registered.items() if kind in Image.OPEN and kind not in NO_PIXELS)


@cache
def _register_plugins() -> None:
    for module, (function, _, _) in PLUGINS.items():
        with suppress(ImportError):
            plugin = import_module(module)
            if function is not None:
                getattr(plugin, function)()


def decode(
    where: Encoded,
    *,
    size: int,
    mode: str,
    background: Sequence[int] = WHITE,
    depth: int | None = None,
    max_pixels: int | None = None,
) -> Pixels:
    """The image as uint8 (channels, size, size), turned upright and resized (bilinear).

    Args:
        mode: "RGB" or "L".
        background: what is seen through transparent pixels: red, green and blue, 0 to 255.
        depth: the bits per channel that images of more than 8 bits use. The upper 8 of them are kept.
        max_pixels: larger images are refused; None: no limit.

    Raises:
        BrokenImage: if the file is not a complete image.
        DeepImage: if the image has more than 8 bits per channel and depth is None.
        RefusedImage: if the image cannot be used for another reason.
        OSError: if the file cannot be read.
    """
    pixels, _ = decode_and_judge(
        where, size=size, mode=mode, background=background, depth=depth, max_pixels=max_pixels
    )
    return pixels


def decode_and_judge(
    where: Encoded,
    *,
    size: int,
    mode: str,
    background: Sequence[int],
    depth: int | None,
    max_pixels: int | None,
) -> tuple[Pixels, Seen]:
    """The same as `decode`, and what else was seen in the file."""
    with _opened(where, max_pixels) as image:
        if image.width * image.height > LARGE:
            image.draft(None, (8 * size, 8 * size))
        # Pillow keeps the upper 8 bits of such colours
        tile = str(getattr(image, "tile", ""))
        wide = ";16" in tile and "BGR;16" not in tile and not image.mode.startswith("I")  # BGR;16 is RGB565
        ImageOps.exif_transpose(image, in_place=True)
        peak = _peak(image, wide)
        if peak and depth is None:
            raise DeepImage(peak)
        if depth is not None and peak >= 1 << depth:
            text = f"has values up to {peak}, but data.depth ({depth} bits) allows {(1 << depth) - 1}"
            raise RefusedImage(text)
        if depth is not None and depth < 16 and peak and wide:
            raise RefusedImage(
                f"has 16 bits per colour, but this data set uses {depth} of them: Pillow would lose the "
                "lower ones. Save the image with 8 bits, or set data.depth to 16 to take it as it is"
            )
        transparent = False
        seen: Image.Image = image
        if depth is not None and image.mode.startswith("I"):
            seen = _upper_bits(image, depth)
        elif wide and isinstance(image.info.get("transparency"), tuple):
            image.info["transparency"] = tuple(value >> 8 for value in image.info["transparency"])
        if seen.has_transparency_data:
            seen, transparent = _on_background(seen, background)
        if seen.mode != "L":  # a grey image is converted when it is small: the result is the same
            seen = seen.convert(mode)
        pixels = np.asarray(seen.resize((size, size), Image.Resampling.BILINEAR).convert(mode))
        seen_in_file = Seen(transparent, _several_frames(image))
    return np.ascontiguousarray(channels_first(pixels[None])[0]), seen_in_file


def why(error: OSError | RefusedImage) -> str:
    """What an exception of `decode` says, without the file's name."""
    if isinstance(error, BrokenImage):
        return f"a broken image: {error}"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def fault_of(where: Encoded, error: OSError | RefusedImage, more: str = "") -> ImageFault:
    """The fault of an encoded image that an exception of `decode` tells; `more` is added to the text."""
    of_file = isinstance(error, RefusedTable) or not isinstance(error, BrokenImage | RefusedImage)
    return ImageFault(where, f"{why(error)}{more}", of_file)


def header(where: Encoded) -> Image.Image:
    """The image in a file or a cell with its size in pixels, not decoded.

    Raises:
        BrokenImage, RefusedImage, OSError: as `decode`.
    """
    with _opened(where, None) as image:
        return image


def kind_of_image(path: Path) -> str | None:
    """The format of an image file by its content, such as "PNG"; None if Pillow does not know it."""
    try:
        with _opened(path, None) as image:
            return image.format
    except (OSError, RefusedImage):
        return None


def as_picture(image: Pixels) -> Image.Image:
    """The image uint8 (channels, H, W), or the picture of a vector, as Pillow has it, grey or RGB."""
    (image,) = pictures(image[None])
    return Image.fromarray(np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)))


def channels_first(images: Pixels) -> Pixels:
    """Convert grey (N, H, W) or colour (N, H, W, 3) images to (N, channels, H, W)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


@contextmanager
def _opened(where: Encoded, max_pixels: int | None) -> Iterator[Image.Image]:
    """An encoded image. What Pillow raises, also within the block, becomes one of the exceptions of `decode`.

    Pillow's limits belong to the whole process, so they are put back at the end."""
    _register_plugins()
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = TEXT_LIMIT, 4 * TEXT_LIMIT
    try:
        with Image.open(where if isinstance(where, Path) else _content(where)) as image:
            if image.format in NO_PIXELS:
                raise RefusedImage(f"is in the format {image.format}, which has no pixels: save it as PNG")
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise RefusedImage(
                    f"{image.width} x {image.height} pixels are more than data.max_pixels ({max_pixels}): "
                    "give it a larger number, or null for no limit"
                )
            yield image
    except (RefusedImage, BrokenImage):
        raise
    except MemoryError:
        raise RefusedImage("there is not enough memory to decode it") from None
    except UnidentifiedImageError:
        refused = _known_to_be_no_image(where)
        if refused is not None:
            raise RefusedImage(refused) from None
        raise BrokenImage(_what_it_is(where)) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a decoder was sent to a place that is not there
            raise
        raise BrokenImage(str(error)) from None
    except Exception as error:  # Pillow's decoders raise many types for broken files
        if "MAX_TEXT" in str(error):
            text = f"has text of more than {TEXT_LIMIT // 2**20} MiB: remove its metadata"
            raise RefusedImage(text) from None
        raise BrokenImage(f"{type(error).__name__}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what git has in place of a file that git-lfs has not fetched."""
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs.github.com/")


def _content(where: Cell) -> io.BytesIO:
    """The encoded image in a cell."""
    try:
        content, path = where.read()
    except OSError as error:
        if error.errno is not None:
            raise
        raise RefusedTable(DAMAGED) from None
    except (pa.ArrowException, IndexError, KeyError):  # it is another table than it was
        raise RefusedTable(DAMAGED) from None
    if content is None and path is not None:
        text = f"holds the path {path!r} and no image: save the data set with the images in it, as "
        raise RefusedImage(f"{text}`save_to_disk` and `push_to_hub` do")
    if not content:
        raise BrokenImage("the cell is empty")
    return io.BytesIO(content)


def _known_to_be_no_image(where: Encoded) -> str | None:
    """What an image file is that is whole, although Pillow does not know it."""
    if isinstance(where, Path) and is_lfs_pointer(where):
        return "is a pointer of git-lfs, not the image: run `git lfs pull`"
    with where.open("rb") if isinstance(where, Path) else _content(where) as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "is a HEIC image: `pip install pillow-heif` lets Pillow read it"
    if start == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "is a JPEG XL image: `pip install pillow-jxl-plugin` lets Pillow read it"
    return None


def _what_it_is(where: Encoded) -> str:
    """What a file is that Pillow takes for no image."""
    with where.open("rb") if isinstance(where, Path) else _content(where) as file:
        start = file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return "it is empty"
    known = (text for begin, text in OTHER_FILES.items() if start[: len(begin)].lower() == begin)
    return next(known, "no image, or none of a format that Pillow reads")


def _several_frames(image: Image.Image) -> bool:
    """Whether a file is an animation or has several pages. The further images of an MPO file, as phones write
    them, show the same picture."""
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # only the first frame, which is not damaged, is used
        return False


def _peak(image: Image.Image, wide: bool) -> int:
    """The largest value of an image of more than 8 bits per channel; 0 for another image."""
    if image.mode == "F":
        raise RefusedImage("the pixels are 32-bit floats: save the image with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise RefusedImage(f"has values from {low} to {high}, but 0 to 65535 can be used: save the image "
                               "with 8 or 16 bits")  # fmt: skip
        return max(high, 1)
    if not wide:
        return 0
    colours = np.asarray(image)[..., : len(image.getbands()) - ("A" in image.getbands())]
    return int(colours.max()) * 256 + 255


def _upper_bits(image: Image.Image, depth: int) -> Image.Image:
    """A grey image of which the upper 8 of `depth` bits are kept, with its transparent value as alpha."""
    values = np.asarray(image)
    grey = np.minimum(values >> (depth - 8), 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    upper = Image.fromarray(grey)
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        upper.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return upper


def _on_background(image: Image.Image, background: Sequence[int]) -> tuple[Image.Image, bool]:
    """The image in front of a colour, and whether the colour is seen anywhere."""
    if image.mode == "La":  # Pillow converts it to RGBA without its alpha
        image = image.convert("LA")
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    shown = Image.new("RGB", image.size, tuple(background))
    shown.paste(image, mask=alpha)
    return shown, alpha.getextrema() != (255, 255)
