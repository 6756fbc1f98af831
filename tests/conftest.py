"""For all tests: one thread, the slow files first, and the warm process."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.spawn import get_executable, set_executable
from pathlib import Path

import parsed_once
import pytest
from project_clone import WARM
from warm import SOCKET

# before torch is loaded: several test processes share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
PIPELINE = Path(__file__).with_name("pipeline")


ROOT = "PYTEST_DEBUG_TEMPROOT"
"""In the environment: where pytest makes its temporary folders."""
ROOM = 2**30
"""The bytes that must be free there; the whole suite needs a fifth."""
SLOW = [
    "test_pipeline",
    "test_store_away",
    "test_two_people",
    "test_tune",
    "test_memorization_stages",
    "test_tune_workers",
    "test_tune_recipe",
    "test_interrupted",
    "test_noise_kinds",
    "test_executors",
    "test_page_in_browser",
    "test_recorder",
]
"""The files that take longest, the longest first; the second one waits little for the warm process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))


def pytest_collection_finish() -> None:
    """What is imported stays as it is: its code is hashed once, and the garbage collector leaves it out."""
    parsed_once.code()
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """In the process that starts the others: choose a place in memory, and begin the warm process."""
    if hasattr(config, "workerinput"):
        return
    keep_files_in_memory(config)
    begin_warm_process(config)


def keep_files_in_memory(config: pytest.Config) -> None:
    """Have pytest's temporary folders in memory: on a disk, small files cost as much time as what is tested.

    They are removed at the end, unless a test has failed. `--basetemp` chooses another place.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM or ROOT in os.environ:
        return
    os.environ[ROOT] = tempfile.mkdtemp(prefix="memtrack-", dir=memory)

    def end() -> None:
        folder = os.environ.pop(ROOT)
        session = config.pluginmanager.get_plugin("session")
        if not session or not session.testsfailed:
            shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(end)


def begin_warm_process(config: pytest.Config) -> None:
    """See pipeline/warm.py."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    whole_suite = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    program = (PIPELINE / "warm.py").read_text()
    for name in ("python", "dvc"):
        (folder / name).write_text(f"#!{sys.executable} -IS\n{program}")
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / SOCKET))
        listener.listen(100)
        server = subprocess.Popen(
            [sys.executable, PIPELINE / "warm_server.py", folder / "python", str(listener.fileno()),
             "at once" if whole_suite else "when asked"],
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    os.environ[WARM] = str(folder)
    if whole_suite and config.getoption("tx", None):  # the processes of pytest-xdist
        config.option.tx = [f"popen//python={folder / 'python'}"] * len(config.option.tx)

    def end() -> None:
        server.communicate()
        shutil.rmtree(folder)

    config.add_cleanup(end)


@pytest.fixture
def warm_workers() -> Iterator[None]:
    """Processes that multiprocessing spawns come from the warm process: they need not import torch."""
    real = get_executable()
    set_executable(str(Path(os.environ[WARM], "python")))
    yield
    set_executable(real)
