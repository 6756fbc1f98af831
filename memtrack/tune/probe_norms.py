"""A cache of probe norms ||p_k|| in .memtrack/probe_norms, so that each is measured only once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.paths import project_root
from memtrack.core.kept_files import sealed, unsealed

FOLDER = Path(".memtrack/probe_norms")
TRIMMED_TO = 0.8
"""If the limit is exceeded, the cache is trimmed to this share of it."""


class ProbeNormCache:
    """One file for each (checkpoint, h, probe): float32 (N,), sealed with these. `key` stands for the rest.

    Several processes may use it at once. The limit applies to all keys together; files that were not used for
    the longest time are deleted first.
    """

    def __init__(self, key: str, samples: int, limit: float) -> None:
        """`limit` is in bytes."""
        self._root = project_root() / FOLDER
        self._folder = self._root / key
        self._samples = samples
        self._limit = limit
        self._written = 0

    def get(self, checkpoint: str, scale: float, probe: int) -> NDArray[np.float32] | None:
        """The probe norms, or None if their file is missing, damaged, or holds others."""
        path = self._file(checkpoint, scale, probe)
        try:
            content = unsealed(path.read_bytes(), self._name(path))
            os.utime(path)
        except OSError:
            return None
        return None if content is None else np.frombuffer(content, dtype=np.float32)

    def put(self, checkpoint: str, scale: float, probes: Sequence[int], norms: NDArray[np.float32]) -> None:
        """Store the rows of `norms` (len(probes), N)."""
        for probe, row in zip(probes, norms, strict=True):
            path = self._file(checkpoint, scale, probe)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}")  # another process may write the same
            with part.open("wb") as file:
                file.write(sealed(row.astype("<f4").tobytes(), self._name(path)))
            with suppress(FileNotFoundError):  # another process has just deleted it
                part.replace(path)
        self._written += norms.nbytes
        if self._written > self._limit / 20:  # listing all files takes a while
            self._written = 0
            self.trim()

    def trim(self) -> None:
        """Delete files until the cache is below the limit."""
        files = []
        for path in self._root.rglob("probe_*"):
            with suppress(OSError):  # another process may be trimming
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._limit:
            return
        for _, size, path in sorted(files):
            if total <= TRIMMED_TO * self._limit:
                return
            with suppress(OSError):
                path.unlink()
            total -= size

    def _name(self, path: Path) -> str:
        return f"{path.relative_to(self._root).as_posix()}, {self._samples} samples"

    def _file(self, checkpoint: str, scale: float, probe: int) -> Path:
        return self._folder / checkpoint / f"h_{scale!r}" / f"probe_{probe}.bin"
