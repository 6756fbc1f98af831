"""Mutations of params.yaml: each one loads, or is refused with a file, a line and words."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from memtrack.config.errors import SHOWN, InputError
from memtrack.config.params import load

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
VALUES = [
    "-1", "0", "1e-300", "1e300", "1e9999", "9" * 30, "9" * 400, "9" * 5000, "-0.0", ".nan", "-.inf",
    "2147483648", "0x7fffffffffffffff", "true", "null", "", "text", "''", "x" * 5000, "[]", "[[[]]]",
    "{}", "{a: {b: 1}}", "2001-02-30", "2001-02-03", "!!int x", "!!binary x", "!x y", "&a b", "&a [*a]",
    "*a", "<<: 1", "[1, 2", "{a: 1", "'open", '"open', r'"\q"', r'"\ud800"', r'"\0"', "a: b", "- a",
    "? a", "@a", "`a`", "%a", "|", ">-", "a # b", "é", "\u212b", "A\u030a", "\u202e", "\u00a0",
    "\ufeff", "\u2028", "\U0001f600", "\x00", "\x1b[2J", "\t", "\x85", "data/../x", "~/x", "/", ".",
    "cnn", "symmetric10",
]  # fmt: skip
PARSER = re.compile(
    r"Traceback|ruamel|pydantic|while (scanning|parsing|constr)|<(block|stream)|\w+Error\b|token|Node\("
)
LONGEST = 10_000


def mutated(draw: random.Random) -> bytes:
    """params.yaml with one to three changes."""
    lines = TEXT.splitlines(keepends=True)
    for _ in range(draw.randint(1, 3)):
        here, there = draw.randrange(len(lines)), draw.randrange(len(lines))
        key, colon, _ = lines[here].partition(":")
        match draw.randrange(7):
            case 0:
                lines[here] = ""
            case 1:
                lines.insert(there, lines[here])
            case 2:
                lines[here], lines[there] = lines[there], lines[here]
            case 3 | 4:
                lines[here] = f"{key}{colon} {draw.choice(VALUES)}\n"
            case 5:
                lines[here] = f"{' ' * draw.randrange(5)}{draw.choice(VALUES)}{colon}{lines[here]}"
            case _:
                place = draw.randrange(len(lines[here]) + 1)
                lines[here] = (
                    lines[here][:place] + draw.choice(":-[]{},&*!|>'\"%@`#?\t \\\n") + lines[here][place:]
                )
    content = bytearray("".join(lines).encode("utf-8", "surrogatepass"))
    if draw.random() < 0.1:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def check(content: bytes) -> bool:
    """Whether the content loads; an AssertionError if it is refused in another way than it should."""
    path = Path("params.yaml")
    path.write_bytes(content)
    try:
        load(path, tune=True)
    except InputError as error:
        said = str(error)
        assert len(said) <= LONGEST, said
        assert not PARSER.search(said), said
        for line in said.splitlines()[:SHOWN]:
            assert re.match(r"params\.yaml:\d+: .*\w{3}", line), said
        return False
    return True


@pytest.mark.parametrize("seed", range(14))
def test_every_mutation_loads_or_is_refused_in_words(seed: int) -> None:
    draw = random.Random(seed)
    loaded = [check(mutated(draw)) for _ in range(15)]
    assert not all(loaded)
