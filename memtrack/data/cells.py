"""Encoded images in the cells of Parquet files, and of the Arrow files that Hugging Face's datasets saves."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memtrack.config.errors import Problem

ARROW = ".arrow"
BYTES, PATH = "bytes", "path"
"""The fields of an image, as Hugging Face's datasets has it."""
Changed = tuple[int, int]
"""The time of a file's last change and its size."""


@dataclass(frozen=True)
class Cell:
    """The encoded image in a cell of a table.

    Attributes:
        path: the Parquet or Arrow file. row: from 0. column: structures of bytes and path, or the bytes.
    """

    path: Path
    row: int
    column: str

    def read(self) -> tuple[bytes | None, str | None]:
        """The bytes of the image file, and the path that is given for it; None for what is not there.

        Raises:
            OSError, pyarrow.ArrowException: if the file cannot be read. IndexError: if it has no such row.
        """
        state = self.path.stat()
        changed = state.st_mtime_ns, state.st_size
        cells, first = _saved(self.path, changed, self.column), 0
        if cells is None:
            starts = _row_groups(self.path, changed)
            group = bisect_right(starts, self.row) - 1
            if group == len(starts) - 1:
                raise IndexError(f"the table ends before row {self.row}")
            cells, first = _row_group(self.path, changed, group, self.column), starts[group]
        found = cells[self.row - first].as_py()
        if isinstance(found, dict):
            return found[BYTES], found.get(PATH)
        return found, None

    def problem(self, message: str) -> Problem:
        """The problem of this image."""
        return Problem(self.path, message=f"row {self.row}: {self.column}: {message}")


Encoded = Path | Cell
"""Where an encoded image is: in a file of its own, or in a cell."""


def image_problem(where: Encoded, message: str) -> Problem:
    """The problem of an image."""
    return Problem(where, message=message) if isinstance(where, Path) else where.problem(message)


class Shard:
    """A Parquet file, or an Arrow file in the format of streams.

    Raises:
        OSError, pyarrow.ArrowException: if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = (
            pa.ipc.open_stream(pa.memory_map(str(path))).read_all() if path.suffix == ARROW else None
        )
        self.schema: pa.Schema = pq.read_schema(path) if self._table is None else self._table.schema
        self.rows: int = pq.read_metadata(path).num_rows if self._table is None else self._table.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        """All cells of a column; the others are not read."""
        if self._table is not None:
            return self._table.column(name)
        return pq.ParquetFile(self.path).read(columns=[name]).column(name)


@lru_cache(maxsize=64)
def _saved(path: Path, changed: Changed, column: str) -> pa.ChunkedArray | None:
    """The cells of an Arrow file, mapped into memory; None for a Parquet file."""
    return Shard(path).column(column) if path.suffix == ARROW else None


@lru_cache(maxsize=4096)
def _row_groups(path: Path, changed: Changed) -> tuple[int, ...]:
    """The first row of each row group of a Parquet file, and the number of rows."""
    metadata = pq.read_metadata(path)
    counts = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    return tuple(accumulate(counts, initial=0))


@lru_cache(maxsize=2)
def _row_group(path: Path, changed: Changed, group: int, column: str) -> pa.ChunkedArray:
    """The cells of a row group: images are read in order when they are decoded."""
    file = pq.ParquetFile(path, pre_buffer=False)  # no threads: a process that was forked reads it
    return file.read_row_group(group, columns=[column], use_threads=False).column(column)
