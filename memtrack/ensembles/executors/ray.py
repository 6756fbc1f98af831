"""Workers on a Ray cluster."""

from __future__ import annotations

import importlib
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from memtrack.config.sections.compute import ComputeParams
from memtrack.ensembles.executors.base import AHEAD, DEATHS, Arguments
from memtrack.ensembles.group_trainer import Arrays, GroupTrainer


def reach(options: ComputeParams) -> Any:
    """The module ray, connected to the cluster of compute.ray; `InputError` if there is none."""
    address = str(options.ray)
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        text = "needs Ray: pip install 'memtrack[ray]'"
        raise options.mistake("ray", message=text) from None
    if ray.is_initialized():
        return ray
    host, _, port = address.rpartition(":")
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        text = f"no Ray cluster answers at {address!r}: {error}"
        raise options.mistake("ray", message=text) from None
    signal.signal(signal.SIGINT, interrupted)  # Ray replaces the handler
    return ray


class Ray:
    """Workers on a Ray cluster, one for each core, or one for each GPU if the task uses GPUs.

    If a worker or its machine dies, Ray repeats the call a few times. Ray distributes the images; memtrack
    must be installed on every machine.
    """

    def __init__(self, trainer: GroupTrainer, options: ComputeParams) -> None:
        self._options = options
        self._ray = ray = reach(options)
        arrays = Arrays.load(trainer.arrays) if isinstance(trainer.arrays, Path) else trainer.arrays
        arrays = Arrays(*(np.asarray(array) for array in vars(arrays).values()))  # shared, not pickled
        self._trainer = ray.put(
            GroupTrainer(trainer.recipe, arrays, trainer.members, trainer.device, trainer.threads)
        )
        self._needs = {"num_gpus": 1} if trainer.device.type == "cuda" else {"num_cpus": 1}
        kind = "GPU" if trainer.device.type == "cuda" else "CPU"
        self.workers = int(ray.cluster_resources().get(kind, 0))
        if not self.workers:
            text = f"the Ray cluster at {options.ray!r} has no {kind}: see train.device"
            raise options.mistake("ray", message=text)

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """See `Executor`."""
        call_trainer: Any = _call_trainer
        remote: Any = self._ray.remote(call_trainer).options(max_retries=DEATHS, **self._needs)
        waiting, at_work = iter(calls), dict[Any, Arguments]()
        try:
            while True:
                for call in islice(waiting, AHEAD * self.workers - len(at_work)):
                    at_work[remote.remote(self._trainer, method, call)] = call
                if not at_work:
                    return
                for ended in self._ray.wait(list(at_work))[0]:
                    try:
                        result = self._ray.get(ended)
                    except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError,
                            self._ray.exceptions.OutOfMemoryError) as error:  # fmt: skip
                        text = f"worker after worker died while training a group of networks: {error}"
                        raise self._options.mistake("ray", message=text) from None
                    except self._ray.exceptions.RayTaskError as error:
                        raise error.cause or error from None
                    yield at_work.pop(ended), result
        finally:
            with suppress(Exception):
                for call in at_work:
                    self._ray.cancel(call, force=True)


def _call_trainer(trainer: GroupTrainer, method: str, arguments: Arguments) -> Any:
    return getattr(trainer, method)(*arguments)
