"""How many processes are started, and what their ends mean."""

from __future__ import annotations

import signal

import pytest
import torch
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.core.training.distributed import ALONE, World
from memtrack.runs import processes
from memtrack.runs.processes import ENDED_WITH_OTHERS, in_processes


@pytest.fixture(autouse=True)
def nothing_started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of processes that would have been started."""
    started: list[int] = []
    monkeypatch.setattr(processes, "_start", lambda count, command: started.append(count))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    return started


def parameters(count: int | None, device: str = "cpu") -> Params:
    params = Params.model_validate(
        {
            "data": {"kind": "digits", "root": "data/raw"},
            "variants": {"clean": {"kind": "none", "labels": "data/prepared"}},
            "train": {"epochs": 1, "model": {"kind": "mlp"}, "optimizer": {"kind": "sgd"},
                      "schedule": {"kind": "constant"}, "device": device},
            "record": {"epochs": {"kind": "every"}},
            "curvature": {"perturbation_scale": 0.1, "probes": 1},
            "compute": {"processes": count},
        }
    )  # fmt: skip
    return placed(params)


def run(count: int | None, device: str = "cpu") -> list[World]:
    """The processes that the work is given in this process."""
    given: list[World] = []
    in_processes(parameters(count, device), given.append, "memtrack.stages.train", "clean")
    return given


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)


@pytest.mark.parametrize("count", [1, None])
def test_one_process_does_the_work_itself(count: int | None, nothing_started: list[int]) -> None:
    assert run(count) == [ALONE]
    assert nothing_started == []


def test_several_are_started(nothing_started: list[int]) -> None:
    assert run(3) == []
    assert nothing_started == [3]


@pytest.mark.parametrize(
    ("gpus", "count", "started"), [(4, None, [4]), (4, 2, [2]), (1, None, []), (4, 1, [])]
)
def test_each_takes_a_gpu(
    gpus: int, count: int | None, started: list[int], nothing_started: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with_gpus(monkeypatch, gpus)
    run(count, "cuda")
    assert nothing_started == started


def test_more_than_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 2)
    with pytest.raises(InputError, match=r"compute\.processes: each process takes a GPU, and this .* has 2"):
        run(3, "cuda")


@pytest.mark.parametrize(
    ("gpus", "environment", "index"),
    [(4, {"LOCAL_RANK": "3"}, 3), (4, {"SLURM_LOCALID": "2"}, 2), (1, {"LOCAL_RANK": "3"}, 0), (4, {}, 0)],
)
def test_the_gpu_of_a_process(
    gpus: int, environment: dict[str, str], index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(monkeypatch, gpus)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes._device(parameters(1, "cuda")) == torch.device("cuda", index)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2"}, "MASTER_ADDR expected, but not set"),
        ({"RANK": "one", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "'one'"),
    ],
)
def test_an_environment_that_lacks_something(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"compute\.processes: RANK and WORLD_SIZE are set: .*{message}"):
        run(1)


KILLED = (
    "process 2 of 3 was ended by SIGKILL, perhaps because memory ran out: everything that is complete is kept"
)


@pytest.mark.parametrize(
    ("ended", "status", "said"),
    [
        ({1: 2, 0: ENDED_WITH_OTHERS, 2: ENDED_WITH_OTHERS}, 2, ""),
        ({0: ENDED_WITH_OTHERS, 1: 130}, 130, ""),
        ({0: -signal.SIGTERM, 1: -signal.SIGKILL, 2: ENDED_WITH_OTHERS}, 1, KILLED),
        ({2: -signal.SIGSEGV}, 1, "process 3 of 3 was ended by SIGSEGV: everything"),
        ({0: -signal.SIGTERM}, 1, "process 1 of 3 was ended by SIGTERM: everything"),
        ({0: ENDED_WITH_OTHERS}, 1, "process 1 of 3 has ended: everything"),
    ],
)
def test_the_status_is_that_of_the_process_that_failed_first(
    ended: dict[int, int], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert processes._status(ended, 3) == status
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert bool(error) == bool(said)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:9"), True),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:1, remote process exited"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ConnectionResetError("Connection reset by peer"), False),
    ],
)
def test_errors_that_come_from_another_process(error: Exception, lost: bool) -> None:
    assert processes._comes_from_another(error) is lost
