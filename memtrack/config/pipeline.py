"""What dvc.yaml reads: keys of params.yaml, and files that no stage makes.

It is found by reading dvc.yaml itself. DVC reports what is missing only when it comes to the stage, which may
be after hours of training.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.config.paths import input_path
from memtrack.config.sections.base import PARAMS_FILE, Section
from memtrack.config.sections.variants import read_from_table
from memtrack.config.yaml_file import Loc, SourceFile, read_yaml

PIPELINE = Path("dvc.yaml")
_REFERENCE = re.compile(r"(?<!\\)\$\{\s*([^}]*?)\s*\}")
_ABSENT = object()
_Value = tuple[Loc | None, Any]
"""A value, and where it is in params.yaml; None for what dvc.yaml has itself."""
_Names = dict[str, _Value]


def pipeline_problems(file: SourceFile, *, files: bool) -> list[Problem]:
    """The keys that dvc.yaml reads and `file`, params.yaml, does not have.

    Args:
        files: also report files and folders that such keys name, that do not exist and that no stage makes.
    """
    if not PIPELINE.exists():
        return []
    try:
        reader = _Reader(file.content, _pipeline())
    except InputError as error:
        return list(error.problems)
    except (TypeError, LookupError, AttributeError, ValueError):  # DVC says what is wrong in its file
        return []
    # other names are those of files that dvc.yaml names under `vars`
    sections = [loc for loc in reader.missing if loc[0] in Params.model_fields]
    missing = {loc: None for loc in sections if not any(_starts(other, loc) for other in sections)}
    problems = [Problem(file.path, None, loc, _advice(loc, list(missing), file.content)) for loc in missing]
    for loc, path in reader.paths.items() if files else ():
        parents = (path, *path.parents)
        tracked = any(one.name and one.with_name(f"{one.name}.dvc").exists() for one in parents)
        if not tracked and not reader.outputs.intersection(parents) and not input_path(str(path)).exists():
            problems.append(Problem(file.path, file.line(loc), loc, f"{path}: no such file or folder"))
    return problems


def folder_problems(params: Params) -> list[Problem]:
    """The keys that should name a file and name a folder, which DVC would take."""
    named: list[tuple[Section, Loc, str]] = [
        *(
            (variant, ("labels",), variant.labels)
            for variant in params.variants.values()
            if read_from_table(variant)
        ),
        *((cleaning, ("decisions",), cleaning.decisions) for cleaning in params.clean.variants.values()),
        *(
            (params.memorization, ("published", name), path)
            for name, path in params.memorization.published.items()
        ),
    ]
    return [
        problem
        for section, loc, path in named
        if input_path(path).is_dir()
        for problem in section.mistake(*loc, message=f"{path} is a folder: give a file").problems
    ]


def unwatched(source: SourceFile, modules: Collection[str], path: Path) -> list[str]:
    """Which of these modules dvc.yaml runs in a stage that does not depend on the file `path`."""
    if not PIPELINE.exists():
        return []
    try:
        stages = _Reader(source.content, _pipeline()).stages
    except (InputError, TypeError, LookupError, AttributeError, ValueError):  # reported elsewhere
        return []
    file = Path.cwd() / path
    forgetful = [
        command
        for command, dependencies in stages
        if not any(file.is_relative_to(Path.cwd() / dependency) for dependency in dependencies)
    ]
    return [module for module in modules if any(module in command for command in forgetful)]


def _pipeline() -> dict[str, Any]:
    """The content of dvc.yaml; raises an `InputError` with the lines of its mistakes."""
    try:  # this reader takes a tenth of the time of `read_yaml`
        content = yaml.load(PIPELINE.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        content = None
    return content if isinstance(content, dict) else read_yaml(PIPELINE).content


class _Reader:
    """What a pipeline reads.

    Attributes:
        missing: the keys of params.yaml that it reads and that are not there.
        paths: the dependencies that keys name, by key. outputs: what its stages write.
        stages: the command and the dependencies of each stage.
    """

    def __init__(self, content: dict[str, Any], pipeline: dict[str, Any]) -> None:
        defaults: dict[str, Any] = {}
        for entry in pipeline.get("vars") or ():
            defaults = _merged(defaults, entry) if isinstance(entry, dict) else defaults
        self._content, self._own = _merged(defaults, content), defaults.keys() - content.keys()
        self.missing: list[Loc] = []
        self.paths: dict[Loc, Path] = {}
        self.outputs: set[Path] = set()
        self.stages: list[tuple[str, list[str]]] = []
        for stage in (pipeline.get("stages") or {}).values():
            for body, names in self._instances(stage):
                self._read(body, names)

    def _instances(self, stage: dict[str, Any]) -> Iterator[tuple[dict[str, Any], _Names]]:
        """Every stage that a stage with `foreach` or `matrix` stands for, with the names that it may use."""
        if "foreach" in stage:
            for key, value in self._items(stage["foreach"]):
                yield stage["do"], {"key": (None, key), "item": value}
        elif "matrix" in stage:
            axes = {f"item.{name}": self._items(given) for name, given in stage["matrix"].items()}
            for chosen in itertools.product(*axes.values()):
                # of a mapping DVC takes the keys here
                values = [(None, key) if isinstance(key, str) else value for key, value in chosen]
                yield stage, dict(zip(axes, values, strict=True))
        else:
            yield stage, {}

    def _items(self, given: Any) -> list[tuple[str | int, _Value]]:
        """The entries of a list or mapping, or of the one that a reference names."""
        loc: Loc | None = None
        if isinstance(given, str):
            loc, given = self._value(_REFERENCE.sub(r"\1", given), {})
        entries = (
            given.items() if isinstance(given, dict) else enumerate(given if isinstance(given, list) else ())
        )
        return [(key, (None if loc is None else (*loc, key), value)) for key, value in entries]

    def _read(self, body: dict[str, Any], names: _Names) -> None:
        for text in _texts(body):
            for reference in _REFERENCE.findall(text):
                self._value(reference, names)
        for entry in body.get("params") or ():
            keys = entry.get(str(PARAMS_FILE)) or () if isinstance(entry, dict) else (entry,)
            for key in keys:
                self._value(self._filled(key, names), {})
        for kind in ("outs", "metrics", "plots"):
            for entry in body.get(kind) or ():
                self.outputs.add(
                    Path(self._filled(next(iter(entry)) if isinstance(entry, dict) else entry, names))
                )
        deps = [entry for entry in body.get("deps") or () if isinstance(entry, str)]
        self.stages.append((str(body.get("cmd")), [self._filled(entry, names) for entry in deps]))
        for entry in body.get("deps") or ():
            loc = next((self._value(reference, names)[0] for reference in _REFERENCE.findall(entry)), None)
            if loc is not None and loc not in self.missing and "wdir" not in body:
                self.paths[loc] = Path(self._filled(entry, names))

    def _filled(self, text: str, names: _Names) -> str:
        return _REFERENCE.sub(lambda found: str(self._value(found[1], names)[1]), text)

    def _value(self, reference: str, names: _Names) -> _Value:
        """The value of a reference such as `variants.clean.labels` or `item.labels`."""
        parts = re.findall(r"[^.\[\]]+", reference)
        loc: Loc | None = None if parts[0] in self._own else ()
        value: Any = self._content
        for length in (1, 2):
            if (name := ".".join(parts[:length])) in names:
                (loc, value), parts = names[name], parts[length:]
                break
        for number, part in enumerate(parts):
            step = int(part) if isinstance(value, list) and part.isdecimal() else part
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                loc = None if loc is None else (*loc, *parts[number:])
                if loc is not None and loc not in self.missing:
                    self.missing.append(loc)
                return loc, _ABSENT
            loc = None if loc is None else (*loc, step)
        return loc, value


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both mappings in one, and so on inside; of other values `other` has the last word."""
    found = one | other
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            found[key] = _merged(one[key], other[key])
    return found


def _texts(node: Any) -> Iterator[str]:
    """All keys and texts in a part of dvc.yaml."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for pair in node.items():
            yield from _texts(list(pair))
    elif isinstance(node, list):
        for entry in node:
            yield from _texts(entry)


def _starts(longer: Loc, loc: Loc) -> bool:
    return len(longer) > len(loc) and longer[: len(loc)] == loc


def _advice(loc: Loc, missing: list[Loc], content: dict[str, Any]) -> str:
    """What to add: the missing key, or the whole section with all of its keys that are missing."""
    text = "is missing, and dvc.yaml reads it"
    section = str(loc[0])
    defaults = {key[1:]: _default(key) for key in missing if key[0] == section}
    if defaults[loc[1:]] is None:
        return text
    if section in content:
        return f"{text}: add `{loc[-1]}: {defaults[loc[1:]]}`"
    keys = ", ".join(f"{key[-1]}: {value}" for key, value in defaults.items() if key)
    return f"{text}: add `{section}: {{{keys}}}`"


def _default(loc: Loc) -> str | None:
    """The default of a key, as params.yaml may have it; None if it has none."""
    field = Params.model_fields.get(str(loc[0]))
    if field is None or field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    for key in loc[1:]:
        value = getattr(value, str(key), _ABSENT)
    if value is _ABSENT:
        return None
    return "{}" if isinstance(value, BaseModel) else json.dumps(value)
