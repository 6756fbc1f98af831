"""A command in a child of the warm process does what it does when it is started for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from project_clone import CODE, WARM, Project

CHECK = ("python", "-m", "memtrack.check")
SLEEP = "import time; print('asleep', flush=True); time.sleep(100)"


@pytest.fixture
def client(project: Project) -> Sequence[str]:
    """The `python` that a project has first on its PATH, with a command that it serves."""
    return [str(Path(os.environ[WARM], "python")), *CHECK[1:]]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (CHECK, 0),
        ((*CHECK, "no file.yaml"), 2),
        ((*CHECK, "--no-such-option"), 2),
        (("dvc", "params", "diff"), 0),
        (("dvc", "repro", "no such stage"), 255),
    ],
)
def test_the_same_status_and_output_as_a_real_start(
    project: Project, command: tuple[str, ...], status: int
) -> None:
    warm, real = (project.run(*command, status=status, real=real) for real in (False, True))
    assert warm == real


def test_arguments_folder_environment_and_the_two_outputs(project: Project, client: Sequence[str]) -> None:
    output = project.run(
        *CHECK, "a b", "--c", code="check.main = lambda: print(__import__('sys').argv[1:], os.getcwd())"
    )
    assert output == f"['a b', '--c'] {project.folder}\n"
    done = subprocess.run(
        [*client, "no file.yaml"], cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "no file.yaml: no such file\n")


def test_what_it_dies_of_is_told(project: Project) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        with tempfile.TemporaryFile() as output:
            process = project.start(*CHECK, output=output, code=SLEEP)
            process.send_signal(number)
            assert process.wait(timeout=60) == -number
    project.run(*CHECK, code="os.abort()", status=-signal.SIGABRT)


def test_a_signal_to_the_client_reaches_the_command(project: Project, client: Sequence[str]) -> None:
    process = waiting(project, client)
    child = served_by(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM
    child.wait(timeout=60)


def test_a_command_dies_with_its_client(project: Project, client: Sequence[str]) -> None:
    process = waiting(project, client)
    child = served_by(process.pid)
    process.kill()
    process.wait()
    child.wait(timeout=60)


def waiting(project: Project, client: Sequence[str]) -> subprocess.Popen[bytes]:
    """A command that waits for the end of its standard input."""
    environment = os.environ | {CODE: "import sys; sys.stdin.read()"}
    return subprocess.Popen(client, cwd=project.folder, stdin=subprocess.PIPE, env=environment)


def served_by(client: int) -> psutil.Process:
    """The child that works for a client: it has the client's standard input."""
    stdin = Path(f"/proc/{client}/fd/0").stat().st_ino
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for process in psutil.process_iter():
            path = Path(f"/proc/{process.pid}/fd/0")
            try:
                if process.pid != client and path.stat().st_ino == stdin:
                    return process
            except OSError:
                continue
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_another_memtrack_is_started_for_real(project: Project, client: Sequence[str]) -> None:
    module = project.folder / "memtrack/check.py"
    before = module.read_text()
    module.write_text("print('another')\n")
    try:
        assert project.run(*CHECK) == "another\n"
        done = subprocess.run(client, cwd=project.folder, capture_output=True, text=True, check=False)
        assert done.stdout == "another\n"
    finally:
        module.write_text(before)


def test_other_commands_are_started_for_real(client: Sequence[str]) -> None:
    command = [client[0], "-c", "import sys; print(sys.executable)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert Path(done.stdout.strip()).resolve() == Path(sys.executable).resolve()
