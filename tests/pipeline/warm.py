"""Starts `python -m memtrack...` and `dvc` within milliseconds, where a real start imports for seconds.

A warm process (warm_server.py) has imported torch, MLflow, DVC and memtrack, and forks a child for each
command. One serves all processes of a test run; tests/conftest.py begins and ends it. It is reached

- by `Warm`, which a test uses as it would use `subprocess.Popen`;
- by the programs `python` and `dvc` of a folder that a project has first on its PATH, which are this very
  file: they hand over what they were started with to a child, and end as it ends. The workers that a child
  starts with `multiprocessing` are started so, too, and for the whole suite the processes of pytest-xdist.

A child has the arguments, the folder, the environment and the open files of its client, and is killed when
its client is gone. What it has not: variables of the environment that a module reads when it is imported,
and a hash seed of its own. Where the memtrack of the folder is not that of this repository, nothing is
served; that and every other command is started for real.

This file imports little, for it is started often.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SOCKET = "socket"
"""In the folder of the server; the two programs lie beside it."""
PROGRAMS = {
    "dvc": "dvc",
    "mlflow": "mlflow",
    "optuna-dashboard": "optuna_dashboard._cli",
    "torchrun": "torch.distributed.run",
}
"""The module of each program besides `python`."""
TEST_PROCESS = "import sys;exec(eval(sys.stdin.readline()))"
"""With this code execnet starts the processes of pytest-xdist."""
CODE = "MEMTRACK_TEST_CODE"
"""In the environment: code that all processes of memtrack execute first that the warm process serves."""


class Warm:
    """A command in a child of the warm process.

    Attributes:
        pid: of the child; 0 where the command is not served.
        returncode: as of `subprocess.Popen`.
    """

    def __init__(
        self,
        server: str,
        command: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        files: Mapping[int, int],
        code: str = "",
    ) -> None:
        """`server`: its folder. `files`: for each file number of the child, an open file here.

        `code` is executed before the module of the command does its work: it sees it by the last part of
        its name, and `os` and `signal`.
        """
        self.pid, self.returncode = 0, None
        run = what_runs(command)
        if run is None:
            return
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.path.join(server, SOCKET))  # noqa: PTH118
        job = {**run, "cwd": cwd, "env": dict(env), "code": code, "files": list(files)}
        socket.send_fds(self._socket, [b"."], list(files.values()))
        self._socket.sendall(json.dumps(job).encode() + b"\n")
        self._answers = self._socket.makefile("rb", buffering=0)
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit status, where it has ended."""
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            self.returncode = int(self._answers.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended."""
        if self.returncode is None:
            select.select([self._socket], [], [], timeout)
        status = self.poll()
        if status is None:
            raise TimeoutError(f"still running after {timeout} s")
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def what_runs(command: Sequence[str]) -> dict[str, Any] | None:
    """The module, or the code of a worker, and its arguments; None where it is not served."""
    match list(command):
        case [program, *arguments] if program in PROGRAMS:
            return {"module": PROGRAMS[program], "arguments": arguments}
        case ["python", "-u", *rest]:  # torchrun starts it so
            return what_runs(["python", *rest])
        case ["python", "-m", module, *arguments] if module.partition(".")[0] in ("memtrack", "uvicorn"):
            return {"module": module, "arguments": arguments}
        case ["python", *_, "-c", code] if code == TEST_PROCESS:
            return {"worker": code, "arguments": []}
        case ["python", *options] if "-c" in options:
            code, *arguments = options[options.index("-c") + 1 :]
            if code.startswith(("from multiprocessing.spawn ", "from multiprocessing.forkserver ")):
                return {"worker": code, "arguments": arguments}
    return None


def main() -> None:
    """The part of the programs `python` and `dvc`."""
    folder, program = os.path.split(sys.argv[0])
    command = [program, *sys.argv[1:]]
    numbers = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208
    files = {number: number for number in numbers if os.path.exists(f"/dev/fd/{number}")}  # noqa: PTH110
    warm = Warm(folder, command, cwd=os.getcwd(), env=os.environ, files=files)  # noqa: PTH109
    if not warm.pid:
        real = os.path.join(os.path.dirname(sys.executable), program)  # noqa: PTH118, PTH120
        os.execv(real, [real, *sys.argv[1:]])  # Python finds its packages by this path
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: warm.send_signal(number))
    status = warm.wait()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
