"""The warm process: it imports all that commands import, and forks a child for each; see warm.py.

It has one thread, since a fork copies one alone. It imports when the first command comes, or at once for the
whole suite, and ends when its standard input does, that is with the test run.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import json
import logging
import multiprocessing
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
import typing
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import parsed_once
from warm import CODE, TEST_PROCESS

REPOSITORY = Path(__file__).parents[2]
PROGRAM = sys.argv[1]
"""The `python` of warm.py."""
STARTED_WITH = dict(os.environ)
HEAVY = [
    "torch._inductor.ir",
    "torch.export",
    "torch.distributed.launcher.api",
    "sympy.combinatorics",
    "networkx",
    "mlflow.pytorch",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "optuna.importance",
    "optuna.storages",
    "optuna.visualization.matplotlib",
    "dvc.cli",
    "dvc.repo",
    "dvc.repo.experiments",
    "faiss",
]
"""What commands import besides memtrack, or when they need it."""


def serve(listener: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a child for each job. Returns in the children, with the job and its files; else never."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    for file in (sys.stdin, listener, woken):
        selector.register(file, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}
    code = load() if sys.argv[3] == "at once" else {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for child in clients:
                    os.kill(child, signal.SIGKILL)
                os._exit(0)
            elif key.fileobj is woken:
                woken.recv(100)
                ended = [(child, os.waitpid(child, os.WNOHANG)) for child in clients]
                for child, (found, status) in ended:
                    if found:
                        client = clients.pop(child)
                        selector.unregister(client)
                        tell(client, os.waitstatus_to_exitcode(status))
                        client.close()
            elif key.fileobj is listener:
                client, _ = listener.accept()
                job, files = received(client)
                code = code or load()
                child = 0
                there = source(Path(job["cwd"]))
                if job.get("module") == "dvc" or there in (code, {}):  # without a package: the installed one
                    child = os.fork()
                    if not child:
                        for opened in (listener, woken, waker, client, *clients.values()):
                            opened.close()
                        selector.close()
                        return job, files
                    clients[child] = client
                    selector.register(client, selectors.EVENT_READ, child)
                for file in files:
                    os.close(file)
                tell(client, child)
            elif key.data in clients:  # a client says nothing more: it is gone, and its child has not ended
                os.kill(key.data, signal.SIGKILL)


def received(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A job and the files that are its standard ones."""
    _, files, _, _ = socket.recv_fds(client, 1, 100)
    with client.makefile("rb") as stream:
        return json.loads(stream.readline()), files


def tell(client: socket.socket, number: int) -> None:
    with suppress(OSError):  # it may be gone
        client.sendall(b"%d\n" % number)


def source(project: Path) -> dict[str, bytes]:
    """The code of memtrack in a project."""
    folder = project / "memtrack"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}


def load() -> dict[str, bytes]:
    """Import memtrack and all that commands import; the code that was imported."""
    sys.path[0] = str(REPOSITORY)
    code = source(REPOSITORY)
    for name in HEAVY:
        importlib.import_module(name)
    memtrack = importlib.import_module("memtrack")
    for found in pkgutil.walk_packages(memtrack.__path__, "memtrack."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    assert memtrack.__file__ == str(REPOSITORY / "memtrack/__init__.py")
    parsed_once.migrations()
    parsed_once.files_of_dvc()
    parsed_once.code(now=True)
    name_no_callers()
    do_once()
    # pyarrow's memory manager has a thread that it starts again in a child
    threads = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    assert threading.active_count() == 1
    assert len(threads - {"jemalloc_bg_thd"}) <= 1, f"a fork would lose threads: {threads}"
    typing._cleanups.clear()  # type: ignore[attr-defined]  # a library empties these caches at the end
    gc.collect()
    gc.freeze()
    use_large_pages()
    return code


def name_no_callers() -> None:
    """The launcher of torchrun looks through all modules for the names of functions, for its log."""
    module = importlib.import_module("torch.distributed.elastic.rendezvous.dynamic_rendezvous")
    module.get_method_name = lambda depth=2: "unnamed"  # type: ignore[attr-defined]


def do_once() -> None:
    """What takes longer the first time: a picture, exporting a network, databases.

    And what a child would do at its end, for what was made before it began.
    """
    import matplotlib
    import mlflow
    import optuna
    import torch
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.requirements_utils import _init_packages_to_modules_map
    from sklearn.metrics import roc_auc_score

    from memtrack import stages
    from memtrack.runs.code import closure
    from memtrack.stages import code

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.stairs([1, 2], [0, 1, 2], label="one")
    axes.set(yscale="log", title="one", xlabel="one")
    axes.legend()
    figure.savefig(io.BytesIO())
    plt.close(figure)

    roc_auc_score([0, 1], [0, 1])  # scikit-learn looks for plugins

    closure(*(name for name in sys.modules if name.startswith("memtrack.")), left_out={})  # parses them
    for found in pkgutil.iter_modules(stages.__path__):
        code.stage_hash(found.name)

    _init_packages_to_modules_map()  # MLflow looks through all packages before it exports a network
    torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(2, 1),))

    with tempfile.TemporaryDirectory() as folder:
        client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("one", tags={"one": "1"})
        run = client.create_run(experiment).info.run_id
        client.log_batch(run, [Metric("one", 1, 0, 1)], [Param("one", "1")], [RunTag("one", "1")])
        client.get_metric_history(run, "one")
        client.search_runs([experiment], "tags.one = '1'")
        client.set_terminated(run)
        study = optuna.create_study(storage=f"sqlite:///{folder}/study.db")
        study.optimize(lambda trial: trial.suggest_float("one", 0, 1), n_trials=2)

    atexit.unregister(importlib.import_module("torch._dynamo.utils").dump_compile_times)
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False


def use_large_pages() -> None:
    """Move memory to pages of 2 MB where the kernel can: a fork and its end then take a third of the time."""
    collapse, size = 25, 2**21
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, _, *name = line.split()
        first, end = (int(address, 16) // size * size for address in addresses.split("-"))
        if access.startswith("rw") and (not name or name == ["[heap]"]) and end > first + size:
            madvise(first + size, end - first - size, collapse)


def run(job: dict[str, Any], files: list[int]) -> None:
    """The child's part."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in files]  # none is overwritten by another
    for file in files:
        os.close(file)
    for number, moved in zip(job["files"], high, strict=True):
        os.dup2(moved, number)
        os.close(moved)
    os.chdir(job["cwd"])
    by_imports = os.environ.items() - STARTED_WITH.items()
    os.environ.clear()
    os.environ.update({**dict(by_imports), **job["env"]})
    sys.path[0] = job["cwd"]
    sys.argv = [job.get("module", "-c"), *job["arguments"]]
    if job.get("worker") != TEST_PROCESS:
        multiprocessing.set_executable(PROGRAM)
    if job.get("module") in ("mlflow", "torch.distributed.run"):
        sys.executable = PROGRAM  # with it they start the processes that do the work
    if job.get("module") == "dvc":
        logging.getLogger().handlers.clear()  # MLflow's, which DVC does not import
    else:
        exec(os.environ.get(CODE, ""), {})
    if "worker" in job:
        exec(job["worker"], {})
    elif job["code"]:
        run_with(job["code"], job["module"])
    else:
        if not hasattr(importlib.import_module(job["module"]), "__path__"):
            del sys.modules[job["module"]]  # what is run is not what others import
            parsed_once.code_of_a_stage()
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)


def run_with(code: str, name: str) -> None:
    """Run `main` of a module, after code that may change what is in it."""
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    sys.modules["__main__"] = module
    exec(code, {name.rpartition(".")[2]: module, "os": os, "signal": signal})
    module.main()


def end(error: BaseException | None) -> NoReturn:
    """End as the interpreter does, but for freeing its memory, which takes a second."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    work = serve(socket.socket(fileno=int(sys.argv[2])))
    try:
        run(*work)
    except BaseException as raised:
        end(raised)
    end(None)
