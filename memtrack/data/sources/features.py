"""The numeric columns of tables as feature vectors."""

from __future__ import annotations

import numpy as np

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Features
from memtrack.core.images.pixels import LARGEST
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.rows import collected, read_rows

SHOWN = 20
"""At most so many cells that are no numbers are listed."""


def collect(params: Features) -> Collected:
    """All rows; the id is what `Samples.name` says, or the one of `id_column`.

    Raises:
        InputError: with the cells that are no finite numbers.
    """
    found = read_rows(params, params.columns)
    table = found.cells
    others = {params.label_column, params.id_column, params.split_column}
    columns = list(params.columns or [name for name in table.columns if name not in others])
    if not columns:
        raise InputError([Problem(found.path, message="has no columns of features: add some")])
    vectors = np.empty((len(table), len(columns)))
    problems: list[Problem] = []
    for number, name in enumerate(columns):
        for row, cell in enumerate(table[name]):
            try:
                vectors[row, number] = np.nan if "_" in cell else float(cell)  # 1_0 is Python's 10
            except ValueError:
                vectors[row, number] = np.nan
            # a comparison with NaN is false
            if not abs(vectors[row, number]) <= LARGEST and len(problems) < SHOWN:
                text = f"{name}: {cell!r} is no finite number"
                text += " (write 1.5, not 1,5)" if "," in cell else ""
                text += " (write 1 and 0)" if cell.lower() in ("true", "false") else ""
                problems.append(found.problem(row, text))
    if problems:
        hint = "fill or leave out such rows, or name the columns to use (data.columns)"
        raise InputError([*problems, *params.mistake("columns", message=hint).problems])
    return collected(found, vectors, [name for name in table.columns if name not in others])
