"""The code blocks of the documentation."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from project_clone import Project

from memtrack.cli.main import main

REPOSITORY = Path(__file__).parents[2]
FENCED = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M
)

INDENTED = re.compile(r"^\n((?:    .*\n|\n(?=    ))+)", re.M)
NOT_RUN = re.compile(r"<!-- not run: ([^\n]+) -->\n\Z")


@dataclass(frozen=True)
class Block:
    """A fenced or indented block of a page.

    Attributes:
        line: where it begins. language: '' for indented ones. reason: why no test runs it; '' if one does.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, without comments."""
        lines = (line.partition("  #")[0] for line in self.text.splitlines() if not line.startswith("#"))
        return [part.strip() for line in lines for part in re.split("&&|;", line) if part.strip()]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, by its path in the repository."""
    content = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            content.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["text"],
            found["reason"] or "",
        )
        for found in FENCED.finditer(content)
    ]


def indented(page: str) -> Iterator[Block]:
    """The indented blocks of a page; those of its fenced blocks and lists are none."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    plain = re.sub(r"^```.*?^```$", lambda found: "\n" * found[0].count("\n"), text, flags=re.S | re.M)
    for found in INDENTED.finditer(plain):
        if not re.search(r"^(- |\d+\. |::: ).*(\n(  .*)?)*\Z", plain[: found.start()], re.M):
            content = re.sub("^    ", "", found[1], flags=re.M)
            reason = NOT_RUN.search(plain, 0, found.start())
            line = plain.count("\n", 0, found.start(1)) + 1
            yield Block(page, line, "", content, reason[1] if reason else "")


def command(beginning: str, *pages: str, **other: str) -> list[str]:
    """The words of the first command that begins so on a page; it is the same on each of the pages.

    The test that calls this runs the command: tests/docs finds the call in its source.

    Args:
        other: see `run_shell`.
    """
    found = {first_command(beginning, page) for page in pages}
    assert len(found) == 1, found
    return _words(*found, other)


def run_here(beginning: str, *pages: str, more: Sequence[object] = (), **other: str) -> object:
    """Run such a command of memtrack in this process, with `more` arguments; its exit status."""
    _, _, _, *words = command(beginning, *pages, **other)
    with pytest.raises(SystemExit) as ended:
        main([*words, *map(str, more)])
    return ended.value.code


def first_command(beginning: str, page: str) -> str:
    """The first command of a page that begins so."""
    found = (text for block in [*indented(page), *blocks(page)] for text in block.commands)
    return next(text for text in found if text.startswith(beginning))


def _words(text: str, other: Mapping[str, str]) -> list[str]:
    words = [other.get(re.sub(r"\W", "_", word), word) for word in shlex.split(text)]
    return ["python", "-m", "memtrack.cli.main", *words[1:]] if words[0] == "memtrack" else words


def run_shell(project: Project, block: Block, **other: str) -> list[str]:
    """Run the commands of a shell block, the first one in the folder of a project; what each says.

    Args:
        other: what stands in place of a word of the page, such as an address; "_" stands for any other sign.
    """
    project, said = copy.copy(project), []
    for text in block.commands:
        words = _words(text, other)
        if words[0] == "cd":
            project.folder = project.folder / words[1]
        elif words[0] != "pip":  # all is installed
            said.append(project.run(*words))
    return said
