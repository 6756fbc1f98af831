"""The decoded images of a data set, in one file that all variants, experiments and processes share.

Image files are decoded once, into .memtrack/images/KEY.npy of the project. The key is a hash of the pixels
and of the names of the images, so another state of the data set has another file. The file is mapped into
memory and never changed. Without such a file, images are decoded whenever they are read.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from memtrack.config.paths import project_root
from memtrack.core.images.pixels import Pixels
from memtrack.core.kept_files import npy_header
from memtrack.terminal.progress import Progress
from memtrack.terminal.workers import end_with_parent

FOLDER = Path(".memtrack/images")
CHUNK = 512
"""The number of images that are decoded, and hashed, at a time."""
GB = 10**9

Decode = Callable[[Sequence[str], NDArray[np.uint64]], Pixels]


def cache_file(pixels: str, names: Sequence[str]) -> Path:
    """The file for a data set with this hash of its pixels and these names of its images."""
    key = hashlib.sha256("\0".join([pixels, *names]).encode()).hexdigest()[:16]
    return project_root() / FOLDER / f"{key}.npy"


@dataclass(frozen=True)
class NewCache:
    """A cache file that is not complete yet. Several processes may write their images into it.

    Attributes:
        path: where it is until it is complete. start: where the first image begins. image: bytes per image.
    """

    path: Path
    start: int
    image: int

    @classmethod
    def reserved(cls, count: int, shape: tuple[int, ...], limit: float) -> NewCache | None:
        """A file with room for `count` images of this shape; None, with the reason printed, if there is none.

        Other caches are removed, those that were not used for the longest time first, until all together
        stay below the limit.

        Args:
            limit: the bytes that all caches of the project may have; 0: there are none.
        """
        if limit == 0:
            return None
        header = npy_header(np.dtype(np.uint8), (count, *shape))
        cache = cls(project_root() / FOLDER / f"{os.getpid()}.part", len(header), math.prod(shape))
        size = cache.start + count * cache.image
        needed, later = (
            f"the decoded images take {size / GB:.3g} GB",
            "images are decoded whenever they are read",
        )
        if size > limit:
            print(f"{needed}, and compute.image_cache allows {limit / GB:.3g} GB: {later}")
            return None
        folder = cache.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, limit - size)
        free = shutil.disk_usage(folder).free
        if size > free:
            print(f"{folder}: {needed}, and the disk has {free / GB:.3g} GB free: {later}")
            return None
        with cache.path.open("wb") as file:
            file.write(header)
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        return cache

    def write(self, row: int, pixels: Pixels) -> None:
        """Write images (B, channels, height, width) of `row` and the rows after it.

        Raises:
            OSError: if the disk is full.
        """
        with self.path.open("rb+") as file:
            file.seek(self.start + row * self.image)
            file.write(np.ascontiguousarray(pixels).data)

    def complete(self, path: Path) -> None:
        """Move the file to its place."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(path)

    def discard(self) -> None:
        """Remove the file, unless it was completed."""
        self.path.unlink(missing_ok=True)


def _make_room(folder: Path, most: float) -> None:
    """Remove what killed processes left, and caches until the others have `most` bytes. A file that is in use
    stays readable."""
    for part in folder.glob("*.part"):
        if not psutil.pid_exists(int(part.stem)):
            part.unlink(missing_ok=True)
    files = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime)
    sizes = [file.stat().st_size for file in files]
    while files and sum(sizes) > most:
        with suppress(OSError):
            files[0].unlink()
        del files[0], sizes[0]


def decode_all(
    path: Path, names: Sequence[str], checksums: NDArray[np.uint64], used: Sequence[bool],
    shape: tuple[int, ...], limit: float, decode: Decode,
) -> bool:  # fmt: skip
    """Decode images in worker processes into a new cache file.

    Args:
        names, checksums: of all images, a row each. used: those that are decoded; the rows of others are
            zero.
        decode: decodes images with these names and checksums, (B, channels, height, width); must be
            picklable.

    Returns:
        whether there is a cache; if not, the reason is printed.

    Raises:
        InputError: from `decode`.
    """
    cache = NewCache.reserved(len(names), shape, limit)
    if cache is None:
        return False
    starts = range(0, len(names), CHUNK)
    columns = [[column[at : at + CHUNK] for at in starts] for column in (names, checksums, used)]
    try:
        with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=end_with_parent) as pool:
            done = pool.map(partial(_decode_chunk, cache, decode), starts, *columns)
            for _ in Progress(done, "decoding the images", total=len(starts)):
                pass
        cache.complete(path)
    finally:
        cache.discard()
    return True


def _decode_chunk(
    cache: NewCache, decode: Decode, start: int, names: Sequence[str], checksums: NDArray[np.uint64],
    used: Sequence[bool],
) -> None:  # fmt: skip
    kept = np.asarray(used)
    images = decode([name for name, one in zip(names, used, strict=True) if one], checksums[kept])
    rows = np.zeros((len(used), *images.shape[1:]), dtype=np.uint8)
    rows[kept] = images
    cache.write(start, rows)


def opened(path: Path) -> Pixels:
    """The images of a cache file, mapped into memory; the file counts as used now."""
    with suppress(OSError):
        path.touch()
    images: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def pixel_hash(images: Pixels, used: Sequence[bool]) -> str:
    """The hash of the pixels of the images that are used."""
    kept = np.asarray(used)

    def digests() -> Iterator[bytes]:
        for start in Progress(range(0, len(images), CHUNK), "checking the decoded images", inner=True):
            part = images[start : start + CHUNK][kept[start : start + CHUNK]]
            yield hashlib.sha256(part.tobytes()).digest()

    return combined(digests())


def combined(digests: Iterable[bytes]) -> str:
    """The hash of all pixels, from the digests of the chunks."""
    return hashlib.sha256(b"".join(digests)).hexdigest()
