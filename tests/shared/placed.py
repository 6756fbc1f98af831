"""Sections of params.yaml that are made without a file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, cast

from memtrack.config.sections.base import Section
from memtrack.config.yaml_file import Loc, SourceFile, read_yaml

S = TypeVar("S", bound=Section)


def placed(section: S, *loc: str) -> S:
    """The section as if it had been read from `loc` of params.yaml, which need not be there."""
    path, where = Path("params.yaml"), cast(Loc, loc)
    section.place(read_yaml(path) if path.exists() else SourceFile(path, {}, {}), where)
    return section
