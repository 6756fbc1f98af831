"""Checkpoints and states: read back bit for bit, damage found, nothing half written, nothing run."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from memtrack.config.errors import InputError
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.models import build
from memtrack.core.training.trainer import Trainer
from memtrack.runs import checkpoints
from memtrack.runs.checkpoints import Checkpoints, EpochMetrics, States, save_weights

CPU = torch.device("cpu")
METRICS = EpochMetrics(train_loss=0.1, train_accuracy=0.5, test_accuracy=0.25, learning_rate=0.05)


class Tied(nn.Module):
    """A network that has one matrix under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(4, 4)
        self.back = nn.Linear(4, 4)
        self.back.weight = self.into.weight


def normed() -> nn.Module:
    """A network with batch norm buffers that are not those it began with."""
    model = build("cnn", (1, 4, 4), 3, width=2, depth=1, dropout=0.5)
    with torch.no_grad():
        model.train()(torch.randn(8, 1, 4, 4))
    return model


def channels_last() -> nn.Module:
    """A network whose weights lie in another order in memory."""
    return nn.Sequential(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)


def odd() -> nn.Module:
    """A network with numbers that == does not tell apart, and several types."""
    model = nn.Linear(3, 2)
    model.weight.data[0] = torch.tensor([float("nan"), -0.0, 1e-45])
    model.register_buffer("halves", torch.tensor([65504.0, 6e-8], dtype=torch.float16))
    model.register_buffer("wide", torch.tensor(2**62 + 1))
    model.register_buffer("none", torch.zeros(0, 3))
    return model


def bits(state: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """Everything that is in a state_dict, comparable."""
    return {
        name: (value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())
        for name, value in state.items()
    }


def blank(model: nn.Module) -> nn.Module:
    """Fill a network with sevens."""
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(7)
    return model


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def kept(project: Path) -> Checkpoints:
    """Three epochs, the second without weights."""
    made = Checkpoints(project / "checkpoints")
    for epoch in (1, 2, 3):
        made.write(epoch, METRICS, None if epoch == 2 else nn.Linear(4, 2))
    return made


# --- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [normed, Tied, channels_last, odd])
def test_weights_come_back_bit_for_bit(make: Callable[[], nn.Module]) -> None:
    kept, model = Checkpoints(Path("kept")), make()
    written = bits(model.state_dict())
    kept.write(3, METRICS, model)
    assert bits(model.state_dict()) == written
    other = blank(make())
    kept.load(3, other)
    assert bits(other.state_dict()) == written
    assert kept.epochs == (3,)
    assert kept.damaged(3) is None
    if isinstance(other, Tied):
        assert other.back.weight is other.into.weight


@pytest.mark.parametrize("make", [normed, Tied, channels_last])
def test_a_model_has_one_file(make: Callable[[], nn.Module]) -> None:
    model = make()
    for name in ("first", "second"):
        Checkpoints(Path(name)).write(1, METRICS, model)
    copy = make()
    copy.load_state_dict(model.state_dict())
    Checkpoints(Path("copy")).write(1, METRICS, copy)
    assert files(Path("first")) == files(Path("second")) == files(Path("copy"))


def test_metrics_come_back_exactly() -> None:
    kept, draw = Checkpoints(Path("kept")), np.random.default_rng(0)
    numbers = [0.0, -0.0, 1 / 3, 5e-324, 1e-5, 3e-7, 1e16, 1e22, 1.7976931348623157e308]
    numbers += (draw.standard_normal(30) * 10.0 ** draw.integers(-20, 20, 30)).tolist()
    for number in numbers:
        said = METRICS.model_copy(update={"train_loss": number, "learning_rate": number})
        kept.write(1, said, None)
        read = kept.metrics(1)
        assert [read.train_loss.hex(), read.learning_rate.hex()] == [float(number).hex()] * 2
        assert (read.train_accuracy, read.test_accuracy, read.weights) == (0.5, 0.25, None)


def test_epochs_are_numbers_and_rise() -> None:
    kept = Checkpoints(Path("kept"))
    assert kept.epochs == ()
    for epoch in (10, 9, 12345, 1):
        kept.write(epoch, METRICS, None)
    assert kept.epochs == (1, 9, 10, 12345)
    kept.discard(9)
    kept.discard(9)
    assert kept.epochs == (1, 10, 12345)


def test_what_is_missing(kept: Checkpoints) -> None:
    assert [kept.missing(epoch, weights=False) for epoch in (1, 2, 3, 4)] == [False, False, False, True]
    assert [kept.missing(epoch, weights=True) for epoch in (1, 2, 3, 4)] == [False, True, False, True]
    kept.weights(3).unlink()
    assert kept.missing(3, weights=True)
    assert not kept.missing(3, weights=False)


def test_weights_alone_are_no_epoch(kept: Checkpoints) -> None:
    save_weights(nn.Linear(4, 2), kept.weights(4))  # and then the process was killed
    assert kept.epochs == (1, 2, 3)
    assert kept.missing(4, weights=True)
    kept.write(4, METRICS, nn.Linear(4, 2))
    assert kept.damaged(4) is None


def test_every_flipped_or_missing_byte_of_the_weights_is_found(kept: Checkpoints) -> None:
    path = kept.weights(3)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert kept.damaged(3) == path
        path.write_bytes(whole[:place])
        assert kept.damaged(3) == path
    path.write_bytes(whole + b"\0")
    assert kept.damaged(3) == path
    path.unlink()
    assert kept.damaged(3) == path
    path.write_bytes(whole)
    assert kept.damaged(3) is None
    assert [kept.damaged(epoch) for epoch in (1, 2)] == [None, None]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"train_loss": 1.0}', "\0\0\0\0", "\ud800"])
def test_broken_metrics_are_found(text: str, kept: Checkpoints) -> None:
    path = kept.folder / "epoch_0003.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert kept.damaged(3) == path
    with pytest.raises(InputError):
        kept.metrics(3)


def test_metrics_cut_off_anywhere_are_found(kept: Checkpoints) -> None:
    path = kept.folder / "epoch_0003.json"
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert kept.damaged(3) == path


def test_weights_that_no_metrics_know_of_are_no_damage(kept: Checkpoints) -> None:
    """A kill between the two files leaves them; the next write, or `WorkFolder.keep_only`, removes them."""
    save_weights(nn.Linear(4, 2), kept.weights(2))
    assert kept.damaged(2) is None


def test_discard_removes_the_epoch_alone(kept: Checkpoints) -> None:
    before = files(kept.folder)
    kept.discard(3)
    assert files(kept.folder) == {name: content for name, content in before.items() if "0003" not in name}


def test_weights_are_dropped_and_metrics_kept(kept: Checkpoints) -> None:
    kept.write(3, METRICS.model_copy(update={"train_loss": 0.75}), nn.Linear(4, 2))
    for _ in range(2):
        kept.drop_weights(3)
        assert not kept.weights(3).exists()
        assert kept.metrics(3).train_loss == 0.75
        assert kept.damaged(3) is None
        assert kept.epochs == (1, 2, 3)


def test_an_epoch_written_again_is_the_new_one(kept: Checkpoints) -> None:
    model = nn.Linear(4, 2)
    kept.write(3, METRICS, model)
    other = blank(nn.Linear(4, 2))
    kept.load(3, other)
    assert bits(other.state_dict()) == bits(model.state_dict())
    assert kept.damaged(3) is None


def test_an_epoch_written_without_weights_has_none(kept: Checkpoints) -> None:
    save_weights(nn.Linear(4, 2), kept.weights(4))  # killed here; now only recorded epochs are kept
    kept.write(4, METRICS, None)
    assert kept.damaged(4) is None


def test_killed_while_weights_are_dropped(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the epoch counts as damaged, and training begins from the beginning."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.drop_weights(3)
    assert kept.damaged(3) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("Error while serializing: I/O error: Input/output error (os error 5)", errno.EIO),
    ],
)
def test_a_failing_write_leaves_what_was_there(
    text: str, number: int, kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(kept.folder)

    def full(_: nn.Module, path: str) -> None:
        Path(path).write_bytes(b"the first half")
        raise SafetensorError(text)

    monkeypatch.setattr(checkpoints, "save_model", full)
    for epoch in (3, 4):
        with pytest.raises(OSError, match="I/O error") as caught:
            kept.write(epoch, METRICS, nn.Linear(4, 2))
        assert caught.value.errno == number
        assert caught.value.filename == str(kept.weights(epoch))
    assert files(kept.folder) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_metrics_on_a_full_disk(kept: Checkpoints) -> None:
    before = files(kept.folder)
    (kept.folder / "epoch_0004.json.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        kept.write(4, METRICS, None)
    assert caught.value.errno == errno.ENOSPC
    assert files(kept.folder) == before


# --- states -------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "plain": {"kind": "sgd", "lr": 0.05, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "adamw": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "step": {"kind": "step", "milestones": [1, 3], "factor": 0.5},
    "cosine": {"kind": "cosine"},
    "one_cycle": {"kind": "one_cycle", "warmup": 0.4},
}


def trainer(optimizer: str, schedule: str, initial: int = 0) -> Trainer:
    """Four epochs of three steps of a small network with dropout and batch norm, augmented."""
    torch.manual_seed(initial)
    return Trainer(
        build("cnn", (1, 4, 4), 3, width=2, depth=1, dropout=0.5),
        optimizer=OPTIMIZERS[optimizer],
        schedule=SCHEDULES[schedule],
        augment=Augmentation(crop=1, flip=True),
        epochs=4,
        steps=3,
        seed=5,
    )


def samples() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 1, 4, 4, generator=draw), torch.randint(0, 3, (6,), generator=draw)) for _ in range(3)
    ]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_from_a_state_as_if_it_had_not_stopped(optimizer: str, schedule: str) -> None:
    batches, states = samples(), States(Path("states"), "key")
    whole = trainer(optimizer, schedule)
    for epoch in (1, 2, 3, 4):
        whole.run_epoch(epoch, batches)
        if epoch == 2:
            states.write(2, whole.state())
    second = trainer(optimizer, schedule, initial=99)
    state = states.read(2, CPU)
    assert state is not None
    second.load_state(state)
    for epoch in (3, 4):
        second.run_epoch(epoch, batches)
    assert bits(second.model.state_dict()) == bits(whole.model.state_dict())
    assert second.learning_rate == whole.learning_rate


@pytest.fixture
def states(project: Path) -> States:
    """The state of the first epoch, with momentum."""
    first = trainer("sgd", "step")
    first.run_epoch(1, samples())
    made = States(project / "states", "key")
    made.write(1, first.state())
    return made


def test_only_the_last_two_states_are_kept(project: Path) -> None:
    states = States(project / "states", "key")
    assert states.epochs() == []
    for epoch in range(1, 13):
        states.write(epoch, {"epoch": epoch})
        assert states.epochs() == [number for number in (epoch, epoch - 1) if number]
    assert [states.read(epoch, CPU) for epoch in (12, 11, 10)] == [{"epoch": 12}, {"epoch": 11}, None]
    assert sorted(files(states.folder)) == ["epoch_0011.pt", "epoch_0012.pt"]
    states.discard(12)
    states.discard(12)
    assert states.epochs() == [11]


def test_a_state_cut_off_anywhere_is_none(states: States) -> None:
    path = states.file(1)
    whole = path.read_bytes()
    assert states.read(1, CPU) is not None
    for length in {*range(0, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert states.read(1, CPU) is None


def test_a_state_with_a_flipped_byte_never_raises(states: States) -> None:
    path = states.file(1)
    whole = path.read_bytes()
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        states.read(1, CPU)


def test_a_flipped_number_in_a_state_is_found(states: States) -> None:
    """Weights have a hash beside them; training must not go on from other numbers unseen, either."""
    path = states.file(1)
    weight = states.read(1, CPU)["model"]["0.weight"].numpy().tobytes()  # type: ignore[index]
    whole = path.read_bytes()
    place = whole.index(weight)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert states.read(1, CPU) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 1000,
        b"PK\x03\x04" + b"\0" * 500,
        pickle.dumps({"model": {}}, protocol=2),
        b"epoch",
    ],
)
def test_what_is_no_state_is_none(content: bytes, states: States) -> None:
    states.file(1).write_bytes(content)
    assert states.read(1, CPU) is None


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch was_here",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_no_code_from_a_state_is_run(form: str, states: States) -> None:
    path = states.file(1)
    if form == "pickle":
        path.write_bytes(pickle.dumps(Malice()))
    else:
        torch.save({"model": Malice()}, path, _use_new_zipfile_serialization=form == "zip")
    assert states.read(1, CPU) is None
    assert not Path("was_here").exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert Path("was_here").exists(), "the file holds no code that could have run"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("count", [10, 300_000])
def test_a_state_on_a_full_disk(count: int, states: States) -> None:
    before = files(states.folder)
    states.file(2).with_name("epoch_0002.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        states.write(2, {"model": torch.zeros(count)})
    assert caught.value.errno == errno.ENOSPC
    assert files(states.folder) == before
