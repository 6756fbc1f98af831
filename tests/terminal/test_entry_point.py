"""How a stage ends: with a status and words that help, and a traceback for what nobody foresaw."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memtrack.config.errors import SHOWN, InputError, Problem
from memtrack.terminal.entry_point import entry_point


def ended(error: BaseException | int | None) -> object:
    """The status of a stage that raises or returns `error`."""

    @entry_point
    def main() -> int | None:
        if isinstance(error, BaseException):
            raise error
        return error

    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_a_stage_that_ends_well(
    returned: int | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(returned) == status
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_the_person(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem(Path("params.yaml"), 3, ("train", "lr"), "is missing")]
    problems += [Problem(Path("labels.csv"), number) for number in range(SHOWN)]
    assert ended(InputError(problems)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("params.yaml:3: train.lr: is missing\nlabels.csv:0: ")
    assert err.endswith("... and 1 more\n")
    assert len(err.splitlines()) == SHOWN + 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["some/file", None])
def test_a_full_disk(name: str | None, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(OSError(number, os.strerror(number), name)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("the disk is full (some/file): " if name else "the disk is full: ")
    assert "run the same command again" in err
    assert len(err.splitlines()) == 1


def test_a_disk_that_a_copy_fills(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "from/a", None, "to/a")) == 1
    assert capsys.readouterr().err.startswith("the disk is full (to/a): ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_disk_that_is_really_full(capsys: pytest.CaptureFixture[str]) -> None:
    @entry_point
    def main() -> None:
        Path("/dev/full").write_text("more than there is room for")

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_disk_that_is_full_in_the_middle_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "from/a", None, "to/a")
    assert ended(shutil.Error([("from/a", "to/a", str(full))])) == 1
    assert capsys.readouterr().err.startswith("the disk is full (to/a): everything that is complete is kept")


@pytest.mark.parametrize(
    "error",
    [
        OSError("the disk is full"),
        shutil.Error("Destination path 'a' already exists"),
        shutil.Error([("from/a", "to/a", "some other reason")]),
        FileNotFoundError(errno.ENOENT, "No such file", "some/file"),
        ValueError("no"),
        MemoryError(),
        ZeroDivisionError(),
    ],
)
def test_what_nobody_foresaw_has_its_traceback(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        ended(error)
    assert caught.value is error


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("a file")

    @entry_point
    def main() -> None:
        (tmp_path / "results/train").mkdir(parents=True)

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "results") in said
    assert "a folder that you may write to" in said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EISDIR, "Is a directory (some/file): memtrack must write a file there: move the folder away"),
        (errno.ELOOP, "Too many levels of symbolic links (some/file): "),
        (errno.EMFILE, "allow more open files (ulimit -n)"),
        (errno.ENAMETOOLONG, "use shorter names"),
        (errno.EIO, "the disk has failed there"),
    ],
)
def test_what_is_no_fault_of_the_program(number: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(OSError(number, os.strerror(number), "some/file")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_training_that_diverged(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(FloatingPointError("the loss is not finite")) == 1
    assert capsys.readouterr().err == "the loss is not finite\n"


def test_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_seen_enough() -> None:
    """As `head` has after some lines."""
    code = "from memtrack.terminal.entry_point import entry_point\n"
    code += "entry_point(lambda: [print('x' * 1000) for _ in range(1000)] and None)()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 1)
