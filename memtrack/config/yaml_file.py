"""Read a YAML or JSON file as DVC reads it (YAML 1.2), with the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from memtrack.config.errors import InputError, Problem

Loc = tuple[str | int, ...]
MERGE = "tag:yaml.org,2002:merge"
LARGEST, DEEPEST, MOST_VALUES = 500_000, 50, 100_000
"""The bounds of a file of parameters: bytes, levels of nesting, and values after aliases are replaced."""
HIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
UNREADABLE = "value of another type"
NO_BLANK = "a blank is missing after the colon: expected 'key: value'"


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
    """Read a mapping from `path`.

    Raises:
        InputError: with a line, if the file is not YAML, is larger or nested deeper than a file of parameters
            can be, or has keys that are given twice or are not text (all of them are listed).
    """
    kind = "JSON" if path.suffix == ".json" else "YAML"
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # to read a named pipe would take for ever
            raise InputError([Problem(path, message="is a named pipe or a device: expected a file")])
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError([Problem(path, message=f"no such file{_where_from(path)}")]) from None
    except OSError as error:
        raise InputError([Problem(path, message=f"cannot be read: {error.strerror}")]) from None
    if kind == "YAML" and len(raw) > LARGEST:
        text = f"has {len(raw):,} bytes: a file of parameters has at most {LARGEST:,}"
        raise InputError([Problem(path, 1, message=text)])
    text = _decoded(path, raw, kind)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor, yaml.max_depth = _Constructor, DEEPEST
    lines: dict[Loc, int] = {}
    problems: list[Problem] = []
    try:
        root = yaml.compose(text)
        if root is None:
            raise InputError([Problem(path, line=1, message="is empty: expected keys and values")])
        if not isinstance(root, MappingNode):
            raise InputError([Problem(path, line=1, message="expected keys and values ('key: value')")])
        _expanded(root, path, {})
        _walk(root, (), path, lines, problems)
        if problems:
            raise InputError(problems)
        return SourceFile(path, yaml.constructor.construct_document(root), lines)
    except MarkedYAMLError as error:
        raise InputError([_syntax_problem(path, text, error, kind)]) from None
    except ReaderError as error:
        line, character = text.count("\n", 0, error.position) + 1, text[error.position]
        message = (
            f"broken {kind}: the character U+{ord(character):04X}, which is not shown, is not allowed: "
            "delete it"
        )
        raise InputError([Problem(path, line, message=message)]) from None


def _decoded(path: Path, raw: bytes, kind: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError([Problem(path, 1, message="is in UTF-16: save it as UTF-8")])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        text = f"is not {kind}: byte {raw[error.start]:#04x} is no UTF-8: save the file as UTF-8"
        raise InputError([Problem(path, line, message=text)]) from None


class _Constructor(SafeConstructor):
    """Reports the line of a value that cannot be converted, such as 2001-99-99."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, OverflowError):
            raise ConstructorError(None, None, UNREADABLE, node.start_mark) from None


def _expanded(node: Node, path: Path, counted: dict[int, int | None]) -> int:
    """The number of values below a node once every alias is replaced by what it refers to; `counted` has it
    for the nodes that were seen, None for those that lead here."""
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            text = "refers to itself: an alias (*) stands inside of what it refers to"
            raise InputError([Problem(path, node.start_mark.line + 1, message=text)])
        return known
    if isinstance(node, ScalarNode):
        return 1
    counted[id(node)] = None
    children = node.value
    if isinstance(node, MappingNode):
        children = [child for pair in node.value for child in pair]
    count = 1 + sum(_expanded(child, path, counted) for child in children)
    if count > MOST_VALUES and path.suffix != ".json":
        text = (
            f"has more than {MOST_VALUES:,} values (an alias, *, counts as all that it refers to): write less"
        )
        raise InputError([Problem(path, node.start_mark.line + 1, message=text)])
    counted[id(node)] = count
    return count


def _walk(node: Node, loc: Loc, path: Path, lines: dict[Loc, int], problems: list[Problem]) -> None:
    if isinstance(node, SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*loc, index)] = child.start_mark.line + 1
            _walk(child, (*loc, index), path, lines, problems)
    if isinstance(node, ScalarNode) and path.suffix != ".json" and (hidden := HIDDEN.search(node.value)):
        text = f"has the character U+{ord(hidden[0]):04X}, which is not shown: remove it"
        problems.append(Problem(path, node.start_mark.line + 1, loc, text))
    if not isinstance(node, MappingNode):
        return
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == MERGE:
            continue  # as DVC does: the loader merges, and a merged key gets the line of its parent
        if not (isinstance(key_node, ScalarNode) and key_node.tag == "tag:yaml.org,2002:str"):
            text = f"{key_node.value[:60]!r}" if isinstance(key_node, ScalarNode) else "of several values"
            problems.append(Problem(path, line, loc, message=f"the key {text} is not text: put it in quotes"))
            continue
        key = SafeConstructor().construct_scalar(key_node)
        if HIDDEN.search(key):
            text = f"the key {key[:60]!a} has a character that is not shown: remove it"
            problems.append(Problem(path, line, loc, text))
            continue
        here = (*loc, key)
        if here in lines:
            problems.append(
                Problem(path, line, here, message=f"given twice, first in line {lines[here]}: remove one")
            )
        lines[here] = line
        _walk(value_node, here, path, lines, problems)


def _syntax_problem(path: Path, text: str, error: MarkedYAMLError, kind: str) -> Problem:
    """What is wrong, in words, at the line where the person who wrote it has to mend it."""
    said = " ".join(str(part) for part in (error.problem, error.context) if part)
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    rows = text.splitlines()

    def source(line: int) -> str:
        return rows[line] if line < len(rows) else ""

    here = mark.line if mark is not None else 0
    row = source(here)
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return Problem(path, here + 1, message="there is a tab in the indentation: YAML requires spaces")
    before = next((number for number in range(here - 1, -1, -1) if source(number).strip()), 0)
    if "mapping values" in said and re.match(r"\s*[\w-]+:[^\s:][^:]*$", source(before)):
        text = f"broken {kind}: {NO_BLANK}"
        return Problem(path, before + 1, message=text)
    if "document start" in said:
        for number, other in enumerate(rows[: here + 1]):
            if other.startswith("%"):
                said, here, row = "directive", number, other
    message, at_start = _in_words(said, source(begun.line) if begun is not None else row, row, here + 1)
    line = begun.line if at_start and begun is not None else here
    return Problem(path, line + 1, message=f"broken {kind}: {message}")


def _in_words(said: str, start: str, row: str, line: int) -> tuple[str, bool]:
    """The message for an error of the parser, and whether its place is where the broken part begins.

    start: the row where the part begins. row: the row at which the parser gave up, number `line`.
    """
    quoted = "put the value in quotes"
    if found := re.search(r"character '(.+)' that cannot start", said):
        if found[1] == r"\t":
            return "there is a tab where YAML requires spaces", False
        return f"a value cannot begin with '{found[1]}': {quoted}", False
    if "a tag" in said or "the tag" in said or "tag handle" in said or "URI" in said:
        return f"a value that begins with ! is a type to YAML, and there is no such type: {quoted}", False
    if "escape" in said:
        return (
            "a backslash in double quotes begins an escape, and this one does not exist: write \\\\ for a "
            "backslash, or use single quotes",
            False,
        )
    if "quoted scalar" in said:
        return "the quote that begins here is not closed: add the quote at the end of the value", True
    if "flow sequence" in said or "flow mapping" in said:
        opened, closed = ("[", "]") if "sequence" in said else ("{", "}")
        text = f"the bracket {opened} that begins here is not closed before line {line}: add {closed}"
        return f"{text} (or a comma is missing)", True
    if "expected ':'" in said:
        return NO_BLANK if ":" in start else "the colon is missing after the key: expected 'key: value'", True
    if "mapping values are not allowed" in said:
        if len(re.findall(r":(?=\s|$)", row)) > 1:
            return f"there is a second colon with a blank after it: {quoted}", False
        return (
            "this key is not where a key can be: indent it like the other keys of its section, and see "
            "whether the line above lacks its end",
            False,
        )
    if "sequence entries are not allowed" in said or re.search("block end>.*'-'", said):
        return "there is a '- ' where no list can begin: remove it, or begin the list in a new line", False
    if "block end" in said and re.search("<scalar>|<anchor>|<alias>", said) and re.search("['\"]", row):
        return (
            "text follows a closing quote: for a quote inside a value, put the value in the other quotes",
            False,
        )
    if "block end" in said:
        return "the indentation does not fit: indent a line like the other lines of its section", False
    if "single document" in said or "document separator" in said:
        return "a second document begins with '---': the file has to be one document", False
    if "directive" in said or "YAML document" in said:
        return "a line that begins with % is a directive to YAML: remove it, or put it in quotes", False
    if "document start" in said:
        return "the file should have ended before this line: expected 'key: value' at the left margin", False
    if "alias" in said or "anchor" in said:
        if "anchor" in said:
            return f"& begins the name of a value, but no name follows: {quoted}", False
        return f"* begins a reference to another value, which does not exist: {quoted}", False
    if "block scalar" in said:
        return f"a value that begins with | or > is a text of several lines: {quoted}", False
    if UNREADABLE in said:
        return f"the value looks like a number, a date or another type, but is none: {quoted}", False
    if "merging" in said:
        return "<< takes the keys of another section (<<: *NAME), but this value is none", False
    if "construct" in said or "expected a" in said or "failed to" in said:
        return "the value does not have the type that its !! says: remove the !!", False
    if "maximum depth" in said:
        return f"nested more than {DEEPEST} levels deep: write it flatter", False
    if "node content" in said:
        return "a value is missing before this place, or a bracket or comma is too many", False
    return "expected 'key: value'; a value with one of : # [ ] { } , & * ! | > ' \" % @ ` needs quotes", False
