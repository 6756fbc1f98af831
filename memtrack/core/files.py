"""Files that are written completely or not at all, and whether a file is what was written.

This module does not import torch, which takes seconds.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing; it appears under its name once its content is on the disk, or not at all.

    Raises:
        OSError: if the disk is full. Nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_array(path: Path, array: ArrayLike) -> None:
    """Write a .npy file completely or not at all. `ValueError` for an array of objects."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise ValueError(f"{path}: an array of objects cannot be written without pickle")
    with whole_file(path) as file:  # np.save does not report a full disk
        file.write(npy_header(array.dtype, array.shape))
        file.write(np.ascontiguousarray(array).data)


def npy_header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file."""
    file = io.BytesIO()
    description = {"descr": kind.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def file_hash(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(content: bytes, of: str) -> bytes:
    """`content` behind a sha256 of it and of the name `of` of what it belongs to."""
    return _seal(content, of) + content


def unsealed(whole: bytes, of: str) -> bytes | None:
    """The content that was sealed; None if it is damaged or belongs to something else."""
    size = hashlib.sha256().digest_size
    return whole[size:] if _seal(whole[size:], of) == whole[:size] else None


def _seal(content: bytes, of: str) -> bytes:
    digest = hashlib.sha256(of.encode() + b"\n")
    digest.update(content)
    return digest.digest()


def epochs_in(folder: Path, suffix: str) -> list[int]:
    """The epochs for which `folder` has a file such as `epoch_0003` with this suffix, in no order."""
    found = (re.fullmatch(r"epoch_(\d+)", path.stem) for path in folder.glob(f"epoch_*{suffix}"))
    return [int(match[1]) for match in found if match]
