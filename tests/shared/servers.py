"""Servers that tests start on free ports of this machine."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import requests
from project_clone import Project

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds; the test fails if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class MlflowServer:
    """What `mlflow server --serve-artifacts` serves: the runs of a store, and their files through the server.

    Args:
        folder: holds the files. store: the address of the database; None: server.db in the folder.
    """

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.port = free_port()
        self.folder = folder
        self._store = store or f"sqlite:///{folder}/server.db"
        self.process: BaseProcess | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        for name in ("uvicorn", "mlflow.server.fastapi_app"):  # here once, and not in each fork
            importlib.import_module(name)
        self.process = get_context("fork").Process(target=self._serve)
        self.process.start()
        wait_for(self.answers, 120)

    def _serve(self) -> None:
        """In a process of its own."""
        import uvicorn
        from mlflow.server import constants, fastapi_app

        os.environ |= {
            constants.BACKEND_STORE_URI_ENV_VAR: self._store,
            constants.ARTIFACTS_DESTINATION_ENV_VAR: str(self.folder / "artifacts"),
            constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        }
        uvicorn.run(fastapi_app.app, port=self.port, log_level="critical")

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.join()
            self.process = None


def answer(project: Project, address: str, *command: str, **request: Any) -> Any:
    """Start a server with a command in a project, and end it as it has answered a request; the answer's JSON.

    Args:
        request: arguments of `requests.post`; without them the address is read.
    """
    method = "POST" if request else "GET"
    found: list[requests.Response] = []

    def answers() -> bool:
        assert server.poll() is None, output.name
        with suppress(requests.ConnectionError):
            found.append(requests.request(method, address, timeout=30, **request))
        return bool(found)

    with tempfile.NamedTemporaryFile() as output:
        server = project.start(*command, output=output)
        try:
            wait_for(answers, 120)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
    assert found[0].ok, found[0].text
    return found[0].json()


@contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, Path]]:
    """OpenSSH's server for this user, without the keys and settings of the machine: its port, and the key
    that it lets in."""
    assert SSHD is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # the service of the system would make it
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=60
        )
    port = free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    server = subprocess.Popen([SSHD, "-D", "-q", "-f", folder / "config"])
    try:
        wait_for(lambda: _listens(port), 30)
        yield port, folder / "user"
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0
