"""What is in the files that memtrack writes and reads back: arrays, seals, epochs.

This module does not import torch, which takes seconds.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from memtrack.core.files import whole_file


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
