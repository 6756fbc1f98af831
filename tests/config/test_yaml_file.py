"""Parameter files are read as DVC reads them, and the line of every key is known."""

from __future__ import annotations

import datetime
import json
import math
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml

from memtrack.config.errors import InputError
from memtrack.config.yaml_file import read_yaml

SCALARS: list[tuple[str, Any]] = [  # as YAML 1.2 has it
    ("1e-3", 0.001),
    ("1E3", 1000.0),
    ("1.e-3", 0.001),
    (".5", 0.5),
    ("+1", 1),
    ("-0.0", -0.0),
    ("1_000", 1000),
    ("010", 10),
    ("08", 8),
    ("0o10", 8),
    ("0x10", 16),
    ("190:20:30", "190:20:30"),
    ("1,000", "1,000"),
    ("0.1.2", "0.1.2"),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("true", True),
    ("False", False),
    ("tRue", "tRue"),
    ("null", None),
    ("~", None),
    ("", None),
    ("'~'", "~"),
    ('"null"', "null"),
    ("'1e-3'", "1e-3"),
    ("'it''s'", "it's"),
    (r'"\u00e9"', "é"),
    (".inf", math.inf),
    ("-.inf", -math.inf),
    ("2001-12-14", datetime.date(2001, 12, 14)),
    ("!!str 3", "3"),
    ("!!float 3", 3.0),
    ("[1e-3, no, ~]", [0.001, "no", None]),
    ("{a: on, b: 1e3}", {"a": "on", "b": 1000.0}),
    ("data/raw # the folder", "data/raw"),
    ("|\n  two\n  lines\n", "two\nlines\n"),
    (">-\n  one\n  line\n", "one line"),
]

DOCUMENTS: list[tuple[str, Any]] = [
    ("a: &here 1e-3\nb: *here\nc: [*here, *here]\n", {"a": 0.001, "b": 0.001, "c": [0.001, 0.001]}),
    ("a: &here {x: 1}\nb: *here\n", {"a": {"x": 1}, "b": {"x": 1}}),
    ("a: 1\r\nb: no\r\n", {"a": 1, "b": "no"}),
    ("\ufeffa: 1\n", {"a": 1}),
    ("---\na: 1\n...\n", {"a": 1}),
    ("no: 1\non: 2\n'10': 3\n", {"no": 1, "on": 2, "10": 3}),
    ('{"a": {"b": 1e-3}, "c": [1, null, true]}', {"a": {"b": 0.001}, "c": [1, None, True]}),
]


def written(text: str) -> Path:
    path = Path("file.yaml")
    path.write_bytes(text.encode())
    return path


def problem(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_yaml(written(text))
    return str(caught.value)


def same(one: object, other: object) -> bool:
    """Equal and of the same type all the way down (1, 1.0 and True are three values)."""
    return repr(one) == repr(other)


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_value_is_what_dvc_reads(text: str, value: object) -> None:
    path = written(f"key: {text}\n")
    content = read_yaml(path).content
    assert same(content, {"key": value})
    assert same(content, load_yaml(str(path)))


@pytest.mark.parametrize(("text", "value"), DOCUMENTS)
def test_a_file_is_what_dvc_reads(text: str, value: object) -> None:
    path = written(text)
    content = read_yaml(path).content
    assert same(content, value)
    assert same(content, load_yaml(str(path)))


def test_nan_is_what_dvc_reads() -> None:
    path = written("key: .nan\n")
    assert math.isnan(read_yaml(path).content["key"])
    assert math.isnan(load_yaml(str(path))["key"])


def test_lines_of_keys_and_items() -> None:
    text = """\
# a comment

data:
  kind: digits

  classes:
    - cat
    # another comment
    - dog
  note: |
    data:
      kind: not a key
variants: {clean: {kind: none},
  noisy: {kind: symmetric}}
"last one": 1
"""
    source = read_yaml(written(text))
    lines = {
        ("data",): 3,
        ("data", "kind"): 4,
        ("data", "classes"): 6,
        ("data", "classes", 0): 7,
        ("data", "classes", 1): 9,
        ("data", "note"): 10,
        ("variants",): 13,
        ("variants", "clean", "kind"): 13,
        ("variants", "noisy"): 14,
        ("variants", "noisy", "kind"): 14,
        ("last one",): 15,
    }
    assert {loc: source.line(loc) for loc in lines} == lines


def test_a_key_that_is_not_there_has_the_line_of_its_nearest_parent() -> None:
    source = read_yaml(written("# one\na:\n  b:\n    c: 1\n"))
    assert source.line(("a", "b", "x")) == 3
    assert source.line(("a", "b", "c", "x", "y")) == 4
    assert source.line(("a", "x", "y")) == 2
    assert source.line(("x",)) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(5))
def test_lines_of_a_random_file(seed: int, newline: str) -> None:
    draw = random.Random(seed)
    where: dict[tuple[str | int, ...], str] = {}

    def mapping(loc: tuple[str | int, ...], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in range(draw.randint(1, 4)):
            key = f"key {len(where)}"
            where[(*loc, key)] = f'"{key}"'  # each key is in the file once
            made[key] = mapping((*loc, key), depth - 1) if depth and draw.random() < 0.6 else 1
        return made

    text = json.dumps(mapping((), 4), indent=2)
    lines = text.split("\n")
    source = read_yaml(written(text.replace("\n", newline)))
    for loc, quoted in where.items():
        (line,) = [number for number, line in enumerate(lines, 1) if quoted in line]
        assert source.line(loc) == line


def test_all_duplicate_keys_are_named_with_both_lines() -> None:
    said = problem("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n")
    assert said.splitlines() == [
        "file.yaml:5: b.c: given twice, first in line 3: remove one",
        "file.yaml:6: a: given twice, first in line 1: remove one",
    ]


def test_the_same_key_in_two_mappings_is_no_duplicate() -> None:
    content = read_yaml(written("a: {kind: 1}\nb: {kind: 2}\nkind: 3\n")).content
    assert content == {"a": {"kind": 1}, "b": {"kind": 2}, "kind": 3}


@pytest.mark.parametrize("key", ["10", "1.5", "~", "true", "2001-12-14", "[1, 2]"])
def test_a_key_that_is_not_text(key: str) -> None:
    said = problem(f"a:\n  b: 1\n  {key}: 2\n")
    assert said.startswith("file.yaml:3: a: the key ")
    assert "is not text: put it in quotes" in said


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 2, "the bracket [ that begins here is not closed before line 3: add ]"),
        ("a: 1\nb: {c: 1\n", 2, "the bracket { that begins here is not closed before line"),
        ("a: 1\nb: ]\n", 2, "a value is missing before this place, or a bracket or comma is too many"),
        ("a: 1\nb: 'open\nc: 1\n", 2, "the quote that begins here is not closed"),
        ('a: 1\nb: "open\nc: 1\n', 2, "the quote that begins here is not closed"),
        ("a: 1\nb: 'it's'\n", 2, "text follows a closing quote"),
        ("a: 1\n b: 2\n", 2, "this key is not where a key can be"),
        ("a:\n    b: 1\n  c: 2\n", 3, "the indentation does not fit"),
        ("a: b: c\n", 1, "there is a second colon with a blank after it: put the value in quotes"),
        ("a: 1\nb:2\nc: 3\n", 2, "a blank is missing after the colon"),
        ("a:\n  b:2\n  c: 3\n", 2, "a blank is missing after the colon"),
        ("a: 1\nb 2\nc: 3\n", 2, "the colon is missing after the key"),
        ('a: 1\nb: "C:\\photos"\n', 2, "a backslash in double quotes begins an escape"),
        ("a: 1\nb: @c\n", 2, "a value cannot begin with '@': put the value in quotes"),
        ("a: 1\nb: `c`\n", 2, "a value cannot begin with '`': put the value in quotes"),
        ("a: 1\nb: %c\n", 2, "a value cannot begin with '%': put the value in quotes"),
        ("a: 1\nb:\tc: 1\n", 2, "there is a tab where YAML requires spaces"),
        ("a: 1\n%b: 2\n", 2, "a line that begins with % is a directive"),
        ("%b\na: 1\n", 1, "a line that begins with % is a directive"),
        ("%YAML 3.0\n---\na: 1\n", 1, "a line that begins with % is a directive"),
        ("a: 1\nb: *nowhere\n", 2, "* begins a reference to another value, which does not exist"),
        ("a: 1\nb: *.png\n", 2, "* begins a reference to another value, which does not exist"),
        ("a: 1\nb: &\n", 2, "& begins the name of a value, but no name follows"),
        ("a: 1\nb: !c d\n", 2, "a value that begins with ! is a type to YAML"),
        ("a: 1\nb: !!python/object:os.system\n", 2, "a value that begins with ! is a type to YAML"),
        ("a: 1\nb: !!map 1\n", 2, "the value does not have the type that its !! says"),
        ("a: 1\nb: |x\n", 2, "a value that begins with | or > is a text of several lines"),
        ("a: 1\n<<: 2\n", 2, "<< takes the keys of another section"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins with '---'"),
        ("a: 1\n- b\n", 2, "there is a '- ' where no list can begin"),
        ("a: - b\n", 1, "there is a '- ' where no list can begin"),
        ("a: 1\nb: \x01\n", 2, "the character U+0001, which is not shown, is not allowed: delete it"),
    ],
)
def test_broken_yaml_has_a_line_and_words(text: str, line: int, words: str) -> None:
    assert problem(text).startswith(f"file.yaml:{line}: broken YAML: {words}")
    with pytest.raises(Exception, match="corrupted"):
        load_yaml("file.yaml")


@pytest.mark.parametrize("value", ["2001-02-30", "!!int x", "9" * 5000])
def test_a_value_that_is_none_of_its_type_has_a_line(value: str) -> None:
    assert problem(f"a: 1\nb: {value}\n").startswith(
        "file.yaml:2: broken YAML: the value looks like a number"
    )


@pytest.mark.parametrize("value", [r'"\0"', r'"\e[2J"', r'"\ud800"'])
def test_a_character_that_is_not_shown(value: str) -> None:
    said = problem(f"a: 1\nb: {value}\n? {value}\n: 1\n").splitlines()
    assert [line[:12] for line in said] == ["file.yaml:2:", "file.yaml:3:"]
    assert all("not shown: remove it" in line and line.isprintable() for line in said)


def bomb(last: str) -> str:
    """4 KB in which each of 40 sections refers ten times to the one before."""
    return "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {last.format(','.join([f'*a{i - 1}'] * 10))}\n" for i in range(1, 41)
    )


@pytest.mark.parametrize("text", [bomb("[{}]"), bomb("{{<<: [{}]}}")])
def test_nested_aliases_are_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    assert re.match(r"file\.yaml:\d+: has more than 100,000 values", problem(text))
    assert time.perf_counter() - start < 1  # 0.02 s on an idle machine


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: &a {<<: *a}\n", "a: &a {b: [*a]}\n"])
def test_a_value_that_refers_to_itself(text: str) -> None:
    assert problem(text).startswith("file.yaml:1: refers to itself")


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 300, "a: " + "[" * 60 + "]" * 60, "a:\n " + "- " * 60 + "1\n"]
)
def test_deep_nesting(text: str) -> None:
    assert "broken YAML: nested more than 50 levels deep" in problem(text)


def test_large_files() -> None:
    said = problem("a: 1\n" + "#\n" * 300_000)
    assert said == "file.yaml:1: has 600,005 bytes: a file of parameters has at most 500,000"
    Path("file.json").write_text(json.dumps({"a": "x" * 600_000}))  # those that memtrack writes may be larger
    assert len(read_yaml(Path("file.json")).content["a"]) == 600_000


@pytest.mark.parametrize("indentation", ["\t", "  \t", "\t  "])
def test_a_tab_in_the_indentation(indentation: str) -> None:
    said = problem(f"a:\n  b: 1\n{indentation}c: 2\n")
    assert said == "file.yaml:3: there is a tab in the indentation: YAML requires spaces"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_an_empty_file(text: str) -> None:
    assert problem(text) == "file.yaml:1: is empty: expected keys and values"


@pytest.mark.parametrize("text", ["- a\n- b\n", "text\n", "3\n", "[]\n", "---\n"])
def test_no_mapping_at_the_top(text: str) -> None:
    assert problem(text) == "file.yaml:1: expected keys and values ('key: value')"


def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(InputError, match=r"params.yaml: is a named pipe or a device: expected a file"):
        read_yaml(tmp_path / "params.yaml")


def test_files_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"^nowhere\.yaml: no such file$"):
        read_yaml(Path("nowhere.yaml"))
    Path("folder").mkdir()
    with pytest.raises(InputError, match=r"^folder: cannot be read: "):
        read_yaml(Path("folder"))
    Path("latin.yaml").write_bytes("a: 1\nname: é\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"^latin\.yaml:2: is not YAML: byte 0xe9 is no UTF-8"):
        read_yaml(Path("latin.yaml"))
    Path("utf16.yaml").write_text("a: 1\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"^utf16\.yaml:1: is in UTF-16: save it as UTF-8$"):
        read_yaml(Path("utf16.yaml"))
