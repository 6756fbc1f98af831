"""The base of every section of params.yaml: no unknown keys, no silent conversion."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, Strict

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel
from memtrack.config.repository import nearest_with
from memtrack.config.yaml_file import Loc, SourceFile

PARAMS_FILE = Path("params.yaml")
PREPARED = "data/prepared"
VARIANTS = "data/variants"
LONGEST_NAME = 100
VARIANT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def inside_or_absolute(text: str) -> str:
    """Return the path; raises a ValueError unless it is absolute, in the project, or beside the project
    in its DVC repository."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ValueError("should be a path, not an address: download the files, and give the folder or file")
    path = PurePosixPath(text)
    upward = not path.is_absolute() and ".." in path.parts
    if not text or text.startswith("~") or (upward and not _beside_the_project(text)):
        raise ValueError(
            "should be a path inside the project, or an absolute one, or one beside the project in its DVC "
            "repository (DVC runs experiments in a copy of the repository elsewhere, where '..' above it and "
            "'~' mean something else)"
        )
    return text


def _beside_the_project(text: str) -> bool:
    """Whether a path leads out of the project and stays in its DVC repository, which experiments copy."""
    project = Path.cwd()
    there = Path(os.path.normpath(project / text))
    repository = nearest_with(".dvc", project) or project
    return there.is_relative_to(repository) and not (
        there.is_relative_to(project) or project.is_relative_to(there)
    )


def _below(text: str) -> str:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError("should be a path below root (DVC watches root for changes)")
    return text


def _variant_name(text: str) -> str:
    if not VARIANT_NAME.fullmatch(text):
        raise ValueError(
            "a variant's name is part of its stage's name (train@NAME): start with a letter, then use "
            "letters, digits, '_' and '-'"
        )
    if len(text) > LONGEST_NAME:
        raise ValueError(f"a variant's name is also that of folders: at most {LONGEST_NAME} characters")
    return text


InputPath = Annotated[str, AfterValidator(inside_or_absolute)]
SubPath = Annotated[str, AfterValidator(_below)]
VariantName = Annotated[str, AfterValidator(_variant_name)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
MatrixRow = Annotated[tuple[Fraction, ...], Strict(False)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]  # each epoch has its files
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
StandardError = Annotated[float, Field(ge=1e-6, le=1)]  # of an AUROC or a share: both lie between 0 and 1
Scale = Annotated[float, Field(gt=0, le=1000)]  # normalized pixels lie within some units of 0
T = TypeVar("T")


def different(choices: tuple[T, ...]) -> tuple[T, ...]:
    """Return the choices; raises a ValueError if one is named twice."""
    if any(choice in choices[:number] for number, choice in enumerate(choices)):
        raise ValueError("names a choice twice")
    return choices


Choices = Annotated[tuple[T, ...], Strict(False), Field(min_length=1), AfterValidator(different)]
VariantNames = Annotated[tuple[VariantName, ...], Strict(False), AfterValidator(different)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]


Broken = list[tuple[Loc, str]]
"""Broken rules: the location of each, and what was expected."""


class Section(StrictModel):
    """A part of params.yaml that knows its position in the file.

    Attributes:
        RENAMED: keys of earlier versions, and what to write instead.
    """

    RENAMED: ClassVar[dict[str, str]] = {}
    _file: SourceFile | None = PrivateAttr(None)
    _loc: Loc = PrivateAttr(())

    def place(self, file: SourceFile, loc: Loc = ()) -> None:
        """Record that this section, and every section in it, was read from `file` at `loc`."""
        self._file, self._loc = file, loc
        for name in type(self).model_fields:
            _place(getattr(self, name), file, (*loc, name))

    def mistake(self, *loc: str | int, message: str) -> InputError:
        """An error in the key `loc` of this section, with its line in the file."""
        where = (*self._loc, *loc)
        if self._file is None:
            return InputError([Problem(PARAMS_FILE, None, where, message)])
        return InputError([Problem(self._file.path, self._file.line(where), where, message)])


def _place(value: object, file: SourceFile, loc: Loc) -> None:
    if isinstance(value, Section):
        value.place(file, loc)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _place(inner, file, (*loc, key))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            _place(inner, file, (*loc, number))
