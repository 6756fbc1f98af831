"""Progress: every item passes, and what is said depends on the time taken and on the terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import pytest

from memtrack.terminal import progress
from memtrack.terminal.progress import LINE_EVERY, Progress


class Clock:
    """Takes the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


class Terminal(io.StringIO):
    """Remembers what is written to it; a terminal."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What a person sees of it in the end."""
        rows, row, column = [""], 0, 0
        for part in re.split(r"(\n|\r|\x1b\[A)", self.getvalue()):
            if part == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            elif part == "\r":
                column = 0
            elif part == "\x1b[A":
                row -= 1
            else:
                rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in rows if line.strip()]


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_every_item_passes_when_it_is_asked_for(
    inner: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    for number in Progress(items(), "reading", total=5, inner=inner):
        assert made == list(range(number + 1))
    assert made == [0, 1, 2, 3, 4]
    assert list(Progress([], "reading", inner=inner)) == []


def test_a_short_inner_loop_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in Progress(numbers(100), "record", total=100, inner=True):
        clock.now += 0.99 * LINE_EVERY / 100
    assert capsys.readouterr().err == ""


def test_a_short_outer_loop_says_that_it_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress(range(4), "train")
    for number in bar:
        clock.now += 1
        bar.note(loss=number / 8)
    assert capsys.readouterr().err == "train: 4/4, loss 0.375, 0 s left\n"


@pytest.mark.parametrize("inner", [True, False])
def test_a_long_loop_says_how_far_it_is(
    inner: bool, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in Progress(numbers(8), "record", total=8, inner=inner):
        clock.now += LINE_EVERY / 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "record: 2/8, 30 s left",
        "record: 4/8, 20 s left",
        "record: 6/8, 10 s left",
        "record: 8/8, 0 s left",
    ]


def test_a_loop_of_unknown_length(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in Progress(numbers(2), "read", inner=True):
        clock.now += LINE_EVERY
    assert capsys.readouterr().err == "read: 1/?\nread: 2/?\n"


def test_inner_loops_leave_the_terminal_to_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    outer = Progress(range(2), "train")
    for _ in outer:
        for _ in Progress(numbers(3), "record epoch", total=3, inner=True):
            pass
    shown = terminal.lines()
    assert len(shown) == 1
    assert shown[0].startswith("train: 100%")
    assert "2/2" in shown[0]
    assert "record epoch" in terminal.getvalue()
