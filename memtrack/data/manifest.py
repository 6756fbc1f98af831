"""manifest.json: what the files of a folder were made from, and the hash of each.

A stage writes it last, and whoever reads the folder checks by it that the folder is complete, unchanged and
the one that is wanted. DVC does the same between stages; the manifest also covers stages that are run alone,
copied folders and files that were edited.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel, write_json
from memtrack.config.sections.base import Section
from memtrack.core.files import file_hash

MANIFEST = "manifest.json"


class _Content(StrictModel):
    made_from: dict[str, Any]
    files: dict[str, str]


def write_manifest(folder: Path, made_from: dict[str, Any], files: Mapping[str, Path] | None = None) -> None:
    """Write the manifest of a folder.

    Args:
        files: where each of its files is, by the name that it has for the folder; None: all that are there.
    """
    if files is None:
        found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST)
        files = {path.relative_to(folder).as_posix(): path for path in found}
    hashes = {name: file_hash(path) for name, path in files.items()}
    write_json(_Content(made_from=made_from, files=hashes), folder / MANIFEST)


def check_unchanged(section: Section, made_from: Mapping[str, Any], folder: Path, remedy: str) -> None:
    """`InputError` for a parameter that is not what it was when a folder was made."""
    for key, value in section.model_dump(mode="json").items():
        if made_from.get(key) != value:
            text = f"was {made_from.get(key)} when {folder} was made: {remedy}"
            raise section.mistake(key, message=text)


class KeptFolder:
    """A folder that a stage wrote.

    Args:
        remedy: what makes the folder anew, such as "run `dvc repro prepare`"; every message ends with it.

    Attributes:
        made_from: what its files were made from. files: the sha256 of each file by its name.

    Raises:
        InputError: if its manifest is missing or damaged.
    """

    def __init__(self, folder: Path, remedy: str) -> None:
        self.folder, self._remedy = folder, remedy
        path = folder / MANIFEST
        if not path.is_file():
            raise self.problem(MANIFEST if folder.exists() else "", "is not there")
        try:
            content = _Content.model_validate_json(path.read_bytes())
        except ValueError:
            raise self.problem(MANIFEST, "is damaged") from None
        self.made_from, self.files = content.made_from, content.files
        self._whole: set[str] = set()

    @property
    def identity(self) -> str:
        """A hash of all its files."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()

    def file(self, name: str) -> Path:
        """The path of a file; `InputError` if its content is not what was written."""
        path = self.folder / name
        if name not in self._whole:
            if not path.is_file():
                raise self.problem(name, "is not there")
            if file_hash(path) != self.files.get(name):
                raise self.problem(name, "is damaged or was changed")
            self._whole.add(name)
        return path

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The path of a file as in `file`; an error while the block reads it becomes an `InputError`, too."""
        path = self.file(name)
        try:
            yield path
        except OSError:
            raise
        except Exception:  # pandas and NumPy raise many kinds for a damaged file
            raise self.problem(name, "is damaged") from None

    def check_all(self) -> None:
        """`InputError` unless every file is what was written."""
        for name in self.files:
            self.file(name)

    def require(self, part: str | None = None, **expected: Any) -> None:
        """`InputError` unless these are in `made_from`, or in a part of it."""
        found = self.made_from if part is None else self.made_from.get(part)
        others = [
            name
            for name, value in expected.items()
            if not isinstance(found, dict) or found.get(name) != value
        ]
        if others:
            raise self.problem(
                MANIFEST, f"the folder belongs to other data or parameters (different: {', '.join(others)})"
            )

    def problem(self, name: str, text: str) -> InputError:
        """What is wrong with a file of the folder, and how to mend it."""
        path = Path(os.path.normpath(self.folder / name))
        return InputError([Problem(path, message=f"{text}: {self._remedy}")])
