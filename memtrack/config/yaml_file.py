"""Read a YAML or JSON file as DVC reads it (YAML 1.2), with the line of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from memtrack.config.errors import InputError, Problem

Loc = tuple[str | int, ...]
MERGE = "tag:yaml.org,2002:merge"


class SourceFile:
    """The content of a parameter file and the line of each part of it.

    `content` is what DVC reads. `line(loc)` is the 1-based line of a key, or of its nearest parent in
    the file; None for content that does not come from a file.
    """

    def __init__(self, path: Path, content: dict[str, Any], lines: dict[Loc, int]) -> None:
        self.path = path
        self.content = content
        self._lines = lines

    def line(self, loc: Loc) -> int | None:
        while loc and loc not in self._lines:
            loc = loc[:-1]
        return self._lines.get(loc, 1 if self._lines else None)


def _where_from(path: Path) -> str:
    """A hint on how to get a file that does not exist."""
    if path.parts[0] in ("data", "results"):
        return ": run `dvc repro` to make it"
    return ": run this in the project folder" if path == Path("params.yaml") else ""


def read_yaml(path: Path) -> SourceFile:
    """Read a mapping from `path`; raises an `InputError` that lists all syntax errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError([Problem(path, message=f"no such file{_where_from(path)}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(path, message=f"cannot be read: {error}")]) from None
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        raise InputError([_syntax_problem(path, text, error)]) from None
    except (YAMLError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise InputError([Problem(path, message=f"is not {kind}: {error}")]) from None
    if root is None:
        raise InputError([Problem(path, line=1, message="is empty: expected keys and values")])
    if not isinstance(root, MappingNode):
        raise InputError([Problem(path, line=1, message="expected keys and values ('key: value')")])

    lines: dict[Loc, int] = {}
    problems: list[Problem] = []
    try:
        _walk(root, (), path, lines, problems)
        if problems:
            raise InputError(problems)
        return SourceFile(path, YAML(typ="safe", pure=True).load(text), lines)
    except MarkedYAMLError as error:
        raise InputError([_syntax_problem(path, text, error)]) from None
    except RecursionError:
        raise InputError([Problem(path, message="is nested too deeply, or refers to itself")]) from None
    except (YAMLError, ValueError) as error:
        raise InputError([Problem(path, message=f"has a value that cannot be read: {error}")]) from None


def _walk(node: Node, loc: Loc, path: Path, lines: dict[Loc, int], problems: list[Problem]) -> None:
    if isinstance(node, SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*loc, index)] = child.start_mark.line + 1
            _walk(child, (*loc, index), path, lines, problems)
    if not isinstance(node, MappingNode):
        return
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == MERGE:
            continue  # as DVC does: the loader merges, and a merged key gets the line of its parent
        if not (isinstance(key_node, ScalarNode) and key_node.tag == "tag:yaml.org,2002:str"):
            text = getattr(key_node, "value", "?")
            problems.append(
                Problem(path, line, loc, message=f"the key {text!r} is not text: put it in quotes")
            )
            continue
        key = SafeConstructor().construct_scalar(key_node)
        here = (*loc, key)
        if here in lines:
            problems.append(Problem(path, line, here, message=f"given twice, first in line {lines[here]}"))
        lines[here] = line
        _walk(value_node, here, path, lines, problems)


def _syntax_problem(path: Path, text: str, error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    source = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
    if "\t" in source[: len(source) - len(source.lstrip())]:
        return Problem(path, line, message="there is a tab in the indentation: YAML requires spaces")
    what = " ".join(str(part) for part in (error.problem, error.context) if part)
    return Problem(path, line, message=f"broken YAML: {what}")
