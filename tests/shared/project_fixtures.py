"""What the tests of the edges share: an empty project, small images, no network."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import parsed_once
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

Picture = Callable[..., Path]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one and the project."""
    monkeypatch.chdir(tmp_path)
    names = ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID")  # MLflow sets some for its own process
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_STAGE", *(f"MLFLOW_{name}" for name in names)):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take seconds to make. All test processes share it."""
    from mlflow import MlflowClient

    parsed_once.migrations()
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "empty_mlflow.db"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            MlflowClient(f"sqlite:///{path}.part").search_experiments()
            Path(f"{path}.part").rename(path)
    return path


@pytest.fixture(scope="session")
def empty_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database for Optuna's studies with its tables."""
    from optuna.storages import RDBStorage

    parsed_once.migrations()
    path = tmp_path_factory.mktemp("studies") / "study.db"
    RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """No network; the list of attempts to reach it."""
    attempts: list[str] = []

    def refuse(*arguments: object, **_: object) -> NoReturn:
        attempts.append(repr(arguments))
        raise URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.fixture
def picture() -> Picture:
    """Write an image file: of the given pixels, or 8x8 pixels of noise drawn from `seed`."""

    def write(path: str | Path, pixels: NDArray[np.uint8] | None = None, seed: int = 0) -> Path:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            draw = np.random.default_rng(seed)
            pixels = draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write
