"""The code blocks of the documentation."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from project_clone import Project

REPOSITORY = Path(__file__).parents[2]
FENCED = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: where it begins. reason: why no test runs it; '' if one does.
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


def run_shell(project: Project, block: Block, **other: str) -> list[str]:
    """Run the commands of a shell block in a project; what each says.

    Args:
        other: what stands in place of a word of the page, such as an address; "_" stands for any other sign.
    """
    said = []
    for command in block.commands:
        words = [other.get(re.sub(r"\W", "_", word), word) for word in shlex.split(command)]
        if words[0] == "memtrack":
            words = ["python", "-m", f"memtrack.cli.{words[1]}", *words[2:]]
        if words[0] not in ("cd", "pip"):  # the project is the folder, and all is installed
            said.append(project.run(*words))
    return said
