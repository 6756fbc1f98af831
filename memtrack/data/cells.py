"""Encoded images in the cells of Parquet files, and of the Arrow files that Hugging Face's datasets saves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memtrack.config.errors import Problem

ARROW = ".arrow"
SHOWN = 20
"""So many rows of a table with the same fault are named; the rest are counted."""
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


Encoded = Path | Cell
"""Where an encoded image is: in a file of its own, or in a cell."""


@dataclass(frozen=True)
class ImageFault:
    """Why an encoded image cannot be used, and what to do; of_file: this is so for all images of its file."""

    where: Encoded
    text: str
    of_file: bool = False


def image_problems(faults: Iterable[ImageFault]) -> list[Problem]:
    """The problem of each image file, and one for all rows of a table in which the same is wrong."""
    rows: dict[tuple[Path, str, str], list[int]] = {}
    for fault in faults:
        if isinstance(fault.where, Path) or fault.of_file:
            path = fault.where if isinstance(fault.where, Path) else fault.where.path
            rows[path, "", fault.text] = []
        else:
            rows.setdefault((fault.where.path, fault.where.column, fault.text), []).append(fault.where.row)
    return [
        Problem(path, message=f"{_rows(found)}: {column}: {text}" if found else text)
        for (path, column, text), found in rows.items()
    ]


def _rows(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{'rows' if len(numbers) > 1 else 'row'} {', '.join(map(str, numbers[:SHOWN]))}{more}"


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
