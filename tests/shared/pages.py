"""The code blocks of the documentation."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from project_clone import Project

REPOSITORY = Path(__file__).parents[2]
FENCED = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M
)

INDENTED = re.compile(r"^\n((?:    .*\n|\n(?=    ))+)", re.M)


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
        return [
            line.partition("  #")[0].strip() for line in self.text.splitlines() if not line.startswith("#")
        ]


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
            yield Block(page, plain.count("\n", 0, found.start(1)) + 1, "", content, "")


def command(beginning: str, *pages: str, **other: str) -> list[str]:
    """The words of the first command that begins so on a page; it is the same on each of the pages.

    Args:
        other: see `run_shell`.
    """
    found = {
        next(
            part.strip()
            for block in [*indented(page), *blocks(page)]
            for line in block.commands
            for part in re.split("&&|;", line)
            if part.strip().startswith(beginning)
        )
        for page in pages
    }
    assert len(found) == 1, found
    return _words(*found, other)


def _words(text: str, other: Mapping[str, str]) -> list[str]:
    words = [other.get(re.sub(r"\W", "_", word), word) for word in shlex.split(text)]
    return ["python", "-m", "memtrack.cli.main", *words[1:]] if words[0] == "memtrack" else words


def run_shell(project: Project, block: Block, **other: str) -> list[str]:
    """Run the commands of a shell block, the first one in the folder of a project; what each says.

    Args:
        other: what stands in place of a word of the page, such as an address; "_" stands for any other sign.
    """
    project, said = copy.copy(project), []
    for text in (part for line in block.commands for part in line.split("&&")):
        words = _words(text, other)
        if words[0] == "cd":
            project.folder = project.folder / words[1]
        elif words[0] != "pip":  # all is installed
            said.append(project.run(*words))
    return said
