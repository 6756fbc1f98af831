"""The command `memtrack`: every subcommand is the module of its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memtrack.cli.main import COMMANDS, main


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_without_a_command_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_a_command_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["chekc"]) == 2
    assert "invalid choice: 'chekc'" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_is_that_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([command, "--help"]) == 0
    assert f"usage: memtrack {command}" in capsys.readouterr().out


def test_arguments_reach_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.yaml").write_text("data: 1\n")
    assert ended(["check", "other.yaml"]) == 2
    assert "other.yaml" in capsys.readouterr().err


def test_it_is_installed_as_a_program() -> None:
    program = Path(sys.executable).with_name("memtrack")
    done = subprocess.run([program], text=True, capture_output=True, check=True)
    assert "usage: memtrack" in done.stdout
