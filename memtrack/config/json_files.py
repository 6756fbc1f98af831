"""JSON files that memtrack writes and reads back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from memtrack.config.validation import M, validate
from memtrack.config.yaml_file import read_yaml
from memtrack.core.files import whole_file


class StrictModel(BaseModel):
    """The content of a file: no unknown keys, no silent conversion, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def read_json(model: type[M], path: Path) -> M:
    """Read a JSON file that memtrack wrote, and check it like any other input.

    A file with mistakes is read again by the slow reader, which knows the lines.
    """
    try:
        return model.model_validate(json.loads(path.read_bytes(), object_pairs_hook=_no_key_twice))
    except (OSError, ValueError, RecursionError):  # pydantic's error is a ValueError
        return validate(model, read_yaml(path))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is given twice")
    return content


def write_json(content: BaseModel, path: Path) -> None:
    """Write `content` as indented JSON."""
    with whole_file(path) as file:
        file.write(json.dumps(content.model_dump(mode="json"), indent=2).encode() + b"\n")
