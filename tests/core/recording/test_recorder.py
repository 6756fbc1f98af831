"""The recorded quantities, against a loop over single samples."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from cases import (
    IMAGE,
    Branching,
    SharedConvolution,
    image_network,
    in_batches,
    sample_gradient,
    sample_hessian,
    samples,
    small_cnn,
    surroundings,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from memtrack.core.recording import recorder
from memtrack.core.recording.curvature import (
    ESTIMATORS,
    Estimator,
    ForwardDifference,
    Method,
    rademacher_probe,
)
from memtrack.core.recording.recorder import QUANTITIES, ProbeNormRecorder, joined, record_epoch

COUNT = 17
EPOCH = 4
SCALE = 0.05
METHODS: list[Method] = ["forward", "central", "hessian"]

Record = dict[str, NDArray[Any]]
Batch = tuple[Tensor, Tensor]

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "folded": image_network,
    "with control flow": lambda: Branching(image_network()),
    "with a shared convolution": lambda: SharedConvolution(0.3),
    "compiled": lambda: torch.compile(image_network(), backend="eager"),  # type: ignore[return-value]
}
"""By what is special about them; the first alone is measured on a copy and in threads."""


def by_hand(network: nn.Module, method: Method) -> dict[str, list[float]]:
    """Every quantity of every sample, one sample at a time and in float64."""
    network.eval()
    directions = [rademacher_probe(IMAGE, seed=8, epoch=EPOCH, probe=number).double() for number in (0, 1)]
    found: dict[str, list[float]] = {}
    for sample, label in zip(*samples(COUNT, IMAGE), strict=True):

        def gradient(moved: Tensor, label: Tensor = label) -> Tensor:
            return sample_gradient(network, moved, label)

        with torch.no_grad():
            logits = network(sample[None])[0].numpy()
        own, others = logits[label], np.delete(logits, label)
        if method == "forward":
            bends = [(gradient(sample + SCALE * v) - gradient(sample)) / SCALE for v in directions]
        elif method == "central":
            bends = [
                (gradient(sample + SCALE * v) - gradient(sample - SCALE * v)) / (2 * SCALE)
                for v in directions
            ]
        else:
            bends = [sample_hessian(network, sample, label) @ v.flatten() for v in directions]
        values = {
            "loss": -np.log(np.exp(own) / np.exp(logits).sum()),
            "probability": np.exp(own) / np.exp(logits).sum(),
            "margin": own - others.max(),
            "correct": float(own > others.max()),
            "predicted": logits.tolist().index(max(logits)),
            "error_norm": np.sqrt(
                ((np.exp(logits) / np.exp(logits).sum() - np.eye(len(logits))[label]) ** 2).sum()
            ),
            "input_gradient_norm": np.sqrt((gradient(sample).numpy() ** 2).sum()),
            "curvature": np.mean([np.sqrt((bend.numpy() ** 2).sum()) for bend in bends]),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return found


@cache
def image_network_by_hand(method: Method) -> dict[str, list[float]]:
    return by_hand(image_network(), method)


@cache
def shared_by_hand() -> dict[str, list[float]]:
    return by_hand(SharedConvolution(0.3), "forward")


def expected(name: str) -> dict[str, list[float]]:
    """Networks that differ in how they are written have the numbers of the plain one."""
    return shared_by_hand() if name.endswith("convolution") else image_network_by_hand("forward")


@cache
def recorded(name: str, method: Method, size: int) -> Record:
    """The record of the same samples, measured in batches of `size`."""
    return record(NETWORKS[name](), size, method)


def record(network: nn.Module, size: int, method: Method = "forward") -> Record:
    estimator = ESTIMATORS[method](SCALE, probes=2, seed=8)
    return joined(record_epoch(network, in_batches(*samples(COUNT, IMAGE), size), estimator, epoch=EPOCH))


class TestByBruteForce:
    @pytest.mark.parametrize("size", [1, 5, COUNT], ids=lambda size: f"batches of {size}")
    @pytest.mark.parametrize("name", list(NETWORKS))
    @pytest.mark.parametrize("quantity", list(QUANTITIES))
    def test_however_the_batches_are_cut(self, quantity: str, name: str, size: int) -> None:
        values = expected(name)[quantity]
        assert len(set(values)) > 1
        np.testing.assert_allclose(recorded(name, "forward", size)[quantity], values, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("size", [1, 5, COUNT], ids=lambda size: f"batches of {size}")
    @pytest.mark.parametrize("name", ["folded", "with control flow"])
    @pytest.mark.parametrize("method", ["central", "hessian"])
    def test_of_the_other_estimators(self, method: Method, name: str, size: int) -> None:
        values = image_network_by_hand(method)["curvature"]
        np.testing.assert_allclose(recorded(name, method, size)["curvature"], values, rtol=1e-5)

    def test_of_batches_of_different_sizes(self) -> None:
        """A large one first, which a thread takes longer for than others for the small ones."""
        inputs, labels = samples(COUNT, IMAGE)
        sizes = [9, 1, 1, 4, 2]
        cut = zip(inputs.split(sizes), labels.split(sizes), strict=True)
        parts = list(record_epoch(image_network(), cut, ForwardDifference(SCALE, 2, seed=8), epoch=EPOCH))
        assert [len(part["loss"]) for part in parts] == sizes
        for name, values in image_network_by_hand("forward").items():
            np.testing.assert_allclose(joined(parts)[name], values, rtol=1e-5, atol=1e-7)


def test_types_and_shapes() -> None:
    found = recorded("folded", "forward", 5)
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        "loss": (np.float32, (COUNT,)),
        "probability": (np.float32, (COUNT,)),
        "margin": (np.float32, (COUNT,)),
        "correct": (np.float32, (COUNT,)),
        "predicted": (np.int32, (COUNT,)),
        "error_norm": (np.float32, (COUNT,)),
        "input_gradient_norm": (np.float32, (COUNT,)),
        "curvature": (np.float32, (COUNT,)),
    }


def test_probes_change_with_the_epoch() -> None:
    inputs, labels = samples(COUNT, IMAGE)
    estimator = ForwardDifference(SCALE)
    one, other = (
        joined(record_epoch(image_network(), [(inputs, labels)], estimator, epoch=epoch)) for epoch in (1, 2)
    )
    assert not np.allclose(one["curvature"], other["curvature"], rtol=1e-3)
    np.testing.assert_array_equal(one["input_gradient_norm"], other["input_gradient_norm"])


def test_large_logits_do_not_overflow() -> None:
    network = nn.Linear(1, 2, bias=False)
    network.weight.data = torch.tensor([[1000.0], [0.0]])
    inputs, labels = torch.ones(2, 1), torch.tensor([0, 1])
    found = joined(record_epoch(network, [(inputs, labels)], ForwardDifference(0.1), epoch=1))
    assert found["loss"].tolist() == [0.0, 1000.0]
    assert found["probability"].tolist() == [1.0, 0.0]
    assert found["margin"].tolist() == [1000.0, -1000.0]


class Scaled(nn.Module):
    """Logits (0, factor x): finite, with whatever gradient the factor makes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(inputs), inputs * self.factor], dim=1)


@pytest.mark.parametrize(
    ("factor", "first"),
    [(float("nan"), "loss"), (float("inf"), "loss"), (2e38, "curvature")],
)
def test_numbers_that_are_not_finite_are_refused(factor: float, first: str) -> None:
    network = Scaled(factor)
    inputs, labels = torch.zeros(3, 1), torch.tensor([0, 1, 0])
    with pytest.raises(FloatingPointError, match=rf"epoch 12: {first} is not finite for 3 samples"):
        joined(record_epoch(network, [(inputs, labels)], ForwardDifference(0.1), epoch=12))
    assert network.training
    assert network.factor.requires_grad


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


THREADS = pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)


def cnn_record(size: int, threads: int, method: Method = "forward") -> Record:
    """Of 80 samples: the last batches of 16, 20 and 64 hold at least 16, those of 7 hold 3."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        inputs, labels = samples(80, IMAGE)
        batches = in_batches(inputs.float(), labels, size)
        return joined(record_epoch(small_cnn(), batches, ESTIMATORS[method](0.1, probes=2), epoch=1))
    finally:
        torch.set_num_threads(before)


class TestNumbersDoNotDependOnTheMachinery:
    """A CNN in float32, bit for bit."""

    @pytest.mark.parametrize(
        ("size", "method"), [(1, "forward"), (7, "forward"), (7, "central"), (7, "hessian"), (80, "forward")]
    )
    def test_threads(self, size: int, method: Method) -> None:
        one, *others = (cnn_record(size, threads, method) for threads in (1, 2, 5))
        for other in others:
            for name in QUANTITIES:
                np.testing.assert_array_equal(other[name], one[name], name)

    @pytest.mark.parametrize("method", METHODS)
    def test_batch_size(self, method: Method) -> None:
        """Of batches that hold at least 16 samples each, as in the pipeline."""
        whole = cnn_record(80, 2, method)
        for size in (16, 20, 64):
            cut = cnn_record(size, 2, method)
            for name in QUANTITIES:
                np.testing.assert_array_equal(cut[name], whole[name], f"{name}, batches of {size}")

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_small_batches_differ_by_rounding(self, size: int) -> None:
        """Small matrix products are added up in another order; how small depends on the CPU."""
        whole, cut = cnn_record(80, 2), cnn_record(size, 2)
        for name in QUANTITIES:
            rounding = 2e-6 * np.abs(whole[name]).max()
            np.testing.assert_allclose(cut[name], whole[name], rtol=0, atol=rounding, err_msg=name)
        for name in ("correct", "predicted"):
            np.testing.assert_array_equal(cut[name], whole[name], name)

    @pytest.mark.usefixtures("warm_workers")
    def test_two_processes_with_half_of_the_samples_each(self) -> None:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            halves = pool.starmap(record_in_eights, [(0, 24), (24, 48)], chunksize=1)
        whole = record_in_eights(0, 48)
        for name in QUANTITIES:
            np.testing.assert_array_equal(joined(halves)[name], whole[name], name)


def record_in_eights(first: int, end: int) -> Record:
    """Of the samples from `first` to `end` of 48, in batches of 8."""
    inputs, labels = samples(48, IMAGE)
    batches = in_batches(inputs[first:end].float(), labels[first:end], 8)
    return joined(record_epoch(small_cnn(), batches, ForwardDifference(0.1, probes=2), epoch=1))


def published(network: nn.Module, batches: list[Batch]) -> list[float]:
    """The curvature as in the authors' code, with its fault; one probe, that it is the same for all.

    The criterion is the mean over the batch, so that a sample's gradient is divided by the number of
    samples that happen to be measured with it.
    """
    criterion, found = nn.CrossEntropyLoss(), []
    for inputs, labels in batches:
        inputs.requires_grad_()
        step = 0.1 * rademacher_probe(IMAGE, seed=0, epoch=1, probe=0)
        loss_moved, loss_here = criterion(network(inputs + step), labels), criterion(network(inputs), labels)
        (difference,) = torch.autograd.grad(loss_moved - loss_here, inputs)
        found += difference.reshape(len(inputs), -1).norm(dim=1).tolist()
    return found


def ours(network: nn.Module, batches: list[Batch]) -> list[float]:
    values: list[float] = joined(record_epoch(network, batches, ForwardDifference(0.1), epoch=1))[
        "curvature"
    ].tolist()
    return values


def twins_differ_by(measure: Callable[[nn.Module, list[Batch]], list[float]]) -> float:
    """How many times the curvature a sample has if it lies in a smaller last batch, of 3 instead of 8."""
    inputs, labels = samples(19, IMAGE)
    inputs[-3:], labels[-3:] = inputs[:3], labels[:3]
    found = measure(image_network().eval(), list(in_batches(inputs, labels, 8)))
    ratios = [last / first for last, first in zip(found[-3:], found[:3], strict=True)]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-5)
    return ratios[0]


class TestSmallerLastBatch:
    """The fault of the published code, whose gradient is that of the mean over a batch."""

    def test_gives_the_same_sample_the_same_numbers(self) -> None:
        assert twins_differ_by(ours) == pytest.approx(1, rel=1e-5)

    def test_and_this_shows_the_fault(self) -> None:
        assert twins_differ_by(published) == pytest.approx(8 / 3, rel=1e-5)


class Counted:
    """An iterator of batches of two samples that counts how many were drawn, and may fail."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        inputs, labels = samples(2 * count, IMAGE)
        self.batches = in_batches(inputs, labels, 2)
        self.drawn, self.fails_at = 0, fails_at

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> Batch:
        if self.drawn == self.fails_at:
            raise OSError("the data have gone")
        batch = next(self.batches)
        self.drawn += 1
        return batch


def test_numbers_of_a_gpu_are_asked_for_two_batches_later() -> None:
    """By functions that wait, which stand for its copies."""
    done: list[str] = []

    def waiting(number: int) -> Callable[[], int]:
        def wait() -> int:
            done.append(f"wait {number}")
            return number

        return wait

    def started() -> Generator[Callable[[], int], None, None]:
        try:
            for number in range(5):
                done.append(f"start {number}")
                yield waiting(number)
        finally:
            done.append("closed")

    assert list(recorder._late(started(), 2)) == list(range(5))
    assert done == ["start 0", "start 1", "start 2", "wait 0", "start 3", "wait 1", "start 4", "wait 2",
                    "closed", "wait 3", "wait 4"]  # fmt: skip
    done.clear()
    results = recorder._late(started(), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert done[-2:] == ["wait 0", "closed"]


class Questions(TorchDispatchMode):
    """Notes what asks a tensor for a number, which waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["folded", "asking"])
def test_nothing_in_a_sweep_asks_the_device_for_a_number(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the network itself does. The numbers of a batch are fetched all at once."""
    fetched: list[tuple[int, ...]] = []
    fetch = recorder._fetched

    def noting(found: Tensor, finish: Callable[..., Any]) -> Callable[[], Any]:
        fetched.append(found.shape)
        return fetch(found, finish)

    monkeypatch.setattr(recorder, "_fetched", noting)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # the watch sees one thread
    network = Asking(image_network()) if kind == "asking" else image_network()
    sweep = record_epoch(network, in_batches(*samples(COUNT, IMAGE), 8), ForwardDifference(0.1, 3), epoch=1)
    first = next(sweep)
    with Questions() as questions:
        rest = list(sweep)
    assert len(joined([first, *rest])["loss"]) == COUNT
    assert fetched == [(9, 8), (9, 8), (9, 1)]
    assert questions.count == (8 if kind == "asking" else 0)


class Asking(nn.Module):
    """A network that asks for a number in each pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits if inputs.max().item() < 1000 else -logits


def changed_network() -> nn.Module:
    """In part frozen and in eval mode, as when it is fine-tuned."""
    network = image_network()
    network[1].eval()
    network[0][0].weight.requires_grad_(False)
    return network


def as_found(network: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in network.modules()],
        "flags": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [parameter.grad for parameter in network.parameters()],
        "state": {name: value.tolist() for name, value in network.state_dict().items()},
        "surroundings": surroundings(),
        "threads of Python": threading.active_count(),
    }


PLAIN_OR_BRANCHING = pytest.mark.parametrize(
    "wrap", [lambda network: network, Branching], ids=["in threads", "one after the other"]
)
Wrap = Callable[[nn.Module], nn.Module]


class TestStreaming:
    @THREADS
    @PLAIN_OR_BRANCHING
    def test_draws_a_few_batches_ahead(self, threads: int, wrap: Wrap) -> None:
        """One for each thread that works and one that waits for it, not the whole epoch."""
        batches = Counted(30)
        ahead = []
        records = record_epoch(wrap(image_network()), batches, ForwardDifference(0.1), epoch=1)
        assert batches.drawn == 0
        for number, part in enumerate(records, 1):
            assert part["loss"].shape == (2,)
            ahead.append(batches.drawn - number)
        assert len(ahead) == 30
        limit = 2 * threads if threads > 1 and wrap is not Branching else 0
        assert max(ahead) <= limit
        assert ahead[-1] == 0

    def test_nothing_to_measure(self) -> None:
        network = image_network()
        assert list(record_epoch(network, [], ForwardDifference(0.1), epoch=1)) == []
        assert network.training

    @THREADS
    @PLAIN_OR_BRANCHING
    @pytest.mark.parametrize("taken", [0, 1, 5, 30], ids=lambda taken: f"after {taken} batches")
    def test_closing_puts_everything_back(self, threads: int, wrap: Wrap, taken: int) -> None:
        network = wrap(changed_network())
        before = as_found(network)
        records = record_epoch(network, Counted(30), ForwardDifference(0.1), epoch=1)
        for _ in range(taken):
            next(records)
            assert not any(module.training for module in network.modules())
            assert torch.get_num_threads() == threads
        records.close()  # type: ignore[attr-defined]
        assert as_found(network) == before

    @THREADS
    @pytest.mark.parametrize(
        ("fault", "wrap"),
        [
            *itertools.product(["batches", "labels", "not finite"], [lambda network: network, Branching]),
            ("model", Branching),  # a traced network calls no code that could raise
        ],
    )
    def test_an_error_puts_everything_back(self, threads: int, wrap: Wrap, fault: str) -> None:
        network = wrap(changed_network())
        before = as_found(network)
        drawn = list(Counted(30))
        inputs, labels = drawn[9]
        errors: dict[str, tuple[type[Exception], list[Batch]]] = {
            "batches": (OSError, []),
            "labels": (Exception, [(inputs, labels + 100)]),
            "model": (RuntimeError, [(inputs + 2000, labels)]),
            "not finite": (FloatingPointError, [(inputs * float("nan"), labels)]),
        }
        error, wrong = errors[fault]
        batches = iter(drawn[:9] + wrong + drawn[10:]) if wrong else Counted(30, fails_at=9)
        got = []
        with pytest.raises(error):
            got.extend(record_epoch(network, batches, ForwardDifference(0.1), epoch=1))
        assert as_found(network) == before

    @PLAIN_OR_BRANCHING
    @pytest.mark.parametrize("method", METHODS)
    def test_leaves_the_model_as_found(self, method: Method, wrap: Wrap) -> None:
        network = wrap(changed_network())
        before = as_found(network)
        with torch.no_grad():
            record(network, 5, method)
        assert as_found(network) == before

    @PLAIN_OR_BRANCHING
    @pytest.mark.parametrize(
        ("estimator", "network", "message"),
        [
            (ForwardDifference(1e-6), small_cnn(), r"scale \(h\)"),
            (
                ForwardDifference(0.1),
                nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)),
                r"'(network\.)?0'",
            ),
        ],
        ids=["step too small", "batch norm without statistics"],
    )
    def test_is_refused_as_by_the_estimator(
        self, estimator: Estimator, network: nn.Module, message: str, wrap: Wrap
    ) -> None:
        inputs, labels = samples(4, IMAGE)
        with pytest.raises(ValueError, match=message):
            next(record_epoch(wrap(network), [(inputs.float(), labels)], estimator, epoch=1))
        assert all(module.training for module in network.modules())


# --- single probes ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_norms_of_single_probes_are_what_curvature_is_made_of(kind: str, method: Method) -> None:
    if kind == "compiled" and method == "hessian":
        pytest.skip("what torch.compile makes cannot be differentiated twice")
    inputs, labels = samples(COUNT, IMAGE)
    batches = list(in_batches(inputs, labels, 5))
    network = NETWORKS[kind]()
    recorders = [
        ProbeNormRecorder(network, batches, "float32", epoch=EPOCH, keep=keep) for keep in (True, False)
    ]
    for scale in (SCALE, 3 * SCALE):
        estimator = ESTIMATORS[method](scale, 1, "plain", 8)
        found = [probing.probe_norms(estimator, [0, 1, 2]) for probing in recorders]
        for norm, power in (("plain", 1), ("squared", 2)):
            whole = ESTIMATORS[method](scale, 3, norm, 8)  # type: ignore[arg-type]
            record = joined(record_epoch(network, batches, whole, epoch=EPOCH))
            for lengths in found:
                assert lengths.shape == (3, COUNT)
                np.testing.assert_allclose((lengths**power).mean(axis=0), record["curvature"], rtol=1e-5)
        for probing, lengths in zip(recorders, found, strict=True):
            np.testing.assert_array_equal(probing.probe_norms(estimator, [2]), lengths[2:])
