"""The processes that train one network: a stage starts them, or a launcher such as torchrun or SLURM does."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import timedelta
from multiprocessing.spawn import get_executable
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store

from memtrack.config.params import Params
from memtrack.core.training.distributed import ALONE, WAIT, ProcessGroup, World
from memtrack.runs.networks import chosen_device
from memtrack.terminal.workers import end_with

STARTED_BY = "MEMTRACK_STARTED_BY"
"""In the environment of a process that a stage has started: the process of the stage."""
ENDED_WITH_OTHERS = 75
"""The status of a process that ends because another one has ended."""
INTERRUPTED = 128 + signal.SIGINT
SECONDS_TO_END = 10
SAID = "memtrack/said"
GO_ON = "everything that is complete is kept; run the same command again to continue from there"


def in_processes(params: Params, work: Callable[[World], None], *command: str) -> None:
    """Do `work` in each of the processes that train a network together.

    A process that a launcher has started (it has RANK and WORLD_SIZE in its environment, as torchrun sets
    them) takes part. Any other process starts compute.processes processes and waits for them, or does the
    work itself if that is one.

    An error is reported by one process, and ends all of them with its status.

    Args:
        work: is given the processes. All but the first must do what the first wants; see `Together`.
        command: the module and the arguments by which Python is called to start a process.

    Raises:
        InputError: if this machine cannot run so many processes. SystemExit: if one of them failed.
    """
    if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        _take_part(params, work)
        return
    count = _number(params)
    if count == 1:
        work(ALONE)
    else:
        _start(count, command)


def _number(params: Params) -> int:
    """The number of processes to start."""
    device, wanted = chosen_device(params.train).type, params.compute.processes
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if wanted is not None and wanted > gpus:
            text = f"each process takes a GPU, and this machine has {gpus}: choose {gpus} or null"
            raise params.compute.mistake("processes", message=text)
        return wanted or gpus
    if device != "cpu" and wanted not in (1, None):
        text = f"several processes train on NVIDIA GPUs or on a CPU, not on {device}: choose 1"
        raise params.compute.mistake("processes", message=text)
    return wanted or 1


def _start(count: int, command: tuple[str, ...]) -> None:
    """Start the processes, and wait until they have ended.

    Raises:
        SystemExit: if one has failed, with its status, or if a signal ends this process.
        KeyboardInterrupt: if they were interrupted.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable()  # torch reports in its own words, too
    os.environ |= {
        STARTED_BY: str(os.getpid()),
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count)),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SECONDS_TO_END),
    }
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=count, max_restarts=0, run_id="memtrack",
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )  # fmt: skip
        try:
            elastic_launch(config, os.fsdecode(get_executable()))("-m", *command)
        except ChildFailedError as error:
            ended = {rank: failure.exitcode for rank, failure in error.failures.items()}
            status = _status(ended, count)
        except SignalException as error:
            status = 128 + error.sigval
        else:
            return
    if status == INTERRUPTED:
        raise KeyboardInterrupt  # it is said here: a process that waits for another one cannot
    sys.exit(status)


def _status(ended: Mapping[int, int], count: int) -> int:
    """The status to end with, from those of failed processes; says it if a process was killed."""
    by_itself = {
        rank: status for rank, status in ended.items() if status not in (ENDED_WITH_OTHERS, -signal.SIGTERM)
    }
    rank, status = next(iter((by_itself or ended).items()))
    if status > 0 and status != ENDED_WITH_OTHERS:
        return status
    what = "has ended" if status > 0 else f"was ended by {signal.Signals(-status).name}"
    if what.endswith("SIGKILL"):
        what += ", perhaps because memory ran out"
    print(f"process {rank + 1} of {count} {what}: {GO_ON}", file=sys.stderr)
    return 1


def _take_part(params: Params, work: Callable[[World], None]) -> None:
    """Do the work as one of the processes that a launcher has started."""
    if STARTED_BY in os.environ:
        end_with(int(os.environ[STARTED_BY]))
    world, store = _joined(params)
    if world.is_first:
        _end_in_order()
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is interrupted, and ends the others
    try:
        with _silent() if not world.is_first else nullcontext():
            work(world)
    except KeyboardInterrupt:
        if STARTED_BY in os.environ:
            sys.exit(INTERRUPTED)
        raise
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process is ending
        if isinstance(error, SystemExit):
            raise
        if not _is_first_to_fail(store):
            sys.exit(ENDED_WITH_OTHERS)
        if not _comes_from_another(error):
            raise
        if STARTED_BY not in os.environ:
            print(f"another process of this training has ended: {GO_ON}", file=sys.stderr)
        sys.exit(ENDED_WITH_OTHERS)
    distributed.destroy_process_group()


def _joined(params: Params) -> tuple[World, Store]:
    """The processes that this one belongs to, and what they share."""
    from torch.distributed.rendezvous import rendezvous

    device = _device(params)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=timedelta(minutes=15)))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAIT)
    except (ValueError, RuntimeError) as error:
        text = f"RANK and WORLD_SIZE are set: this is one of several processes, but they do not meet: {error}"
        raise params.compute.mistake("processes", message=text) from None
    world = ProcessGroup(device)
    if device.type == "cuda":
        used = world.gathered((socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)))
        if len(set(used)) < len(used):
            text = f"{len(used)} processes have {len(set(used))} GPUs: each process takes a GPU"
            raise params.compute.mistake("processes", message=text)
    return world, store


def _device(params: Params) -> torch.device:
    """The device of this process."""
    device = chosen_device(params.train)
    if device.type != "cuda":
        return device
    number = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    # SLURM may show each process its own GPU alone
    device = torch.device("cuda", number if number < torch.cuda.device_count() else 0)
    torch.cuda.set_device(device)
    return device


def _is_first_to_fail(store: Store) -> bool:
    try:
        return store.add(SAID, 1) == 1
    except RuntimeError:  # it was in a process that has ended
        return True


def _comes_from_another(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    lost = r"gloo|NCCL|Connection (closed|reset)|Broken pipe"
    return isinstance(error, RuntimeError) and re.search(lost, str(error)) is not None


@contextmanager
def _silent() -> Iterator[None]:
    """Print nothing: the first process prints the same."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _end_in_order() -> None:
    """Make SIGTERM, which a launcher sends when another process has failed, end this process like an error,
    and after some seconds in any case."""
    heard, told = socket.socketpair()
    told.setblocking(False)

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if sys.exc_info()[0] is None:  # else an error is ending it: the MLflow run is being closed
            sys.exit(ENDED_WITH_OTHERS)

    def wait() -> None:
        while heard.recv(1) != bytes([signal.SIGTERM]):
            pass
        time.sleep(SECONDS_TO_END)
        told.close()
        os._exit(ENDED_WITH_OTHERS)

    signal.signal(signal.SIGTERM, leave)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=wait, daemon=True).start()
