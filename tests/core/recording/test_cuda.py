"""The sweep on a GPU, where there is one: the numbers of a CPU, and no waiting."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, SHAPE, made
from cases import IMAGE, image_network, in_batches, samples, small_cnn, surroundings
from torch import nn

from memtrack.core.recording.curvature import ESTIMATORS, ForwardDifference, Method
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.quantities import QUANTITIES, SampleArrays
from memtrack.core.recording.rank_agreement import rank_agreement
from memtrack.core.recording.recorder import ProbeNormRecorder, fastest_batch_size, joined, record_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
METHODS: list[Method] = ["forward", "central", "hessian"]
GPU = "cuda"


@pytest.fixture
def may_wait() -> Iterator[None]:
    """After a test, waiting is allowed again."""
    yield
    torch.cuda.set_sync_debug_mode("default")


def record(
    network: nn.Module, shape: tuple[int, ...], device: str, method: Method, precision: Precision = "float32"
) -> SampleArrays:
    inputs, labels = samples(50, shape)
    network, inputs = network.to(device), inputs.to(next(network.parameters()).dtype).to(device)
    before = surroundings(), [parameter.stride() for parameter in network.parameters()]
    sweep = record_epoch(
        network,
        in_batches(inputs, labels.to(device), 8),
        ESTIMATORS[method](0.05, probes=2, precision=precision),
        epoch=1,
    )
    parts = [next(sweep)]  # it brings the probes to the GPU; whatever waits from here on is an error
    if device == GPU:
        torch.cuda.set_sync_debug_mode("error")
    parts += sweep
    if device == GPU:
        torch.cuda.set_sync_debug_mode("default")
    assert (surroundings(), [parameter.stride() for parameter in network.parameters()]) == before
    return joined(parts)


@pytest.mark.usefixtures("may_wait")
class TestNumbers:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", ["CNN", *ARCHITECTURES])
    def test_in_float64_they_are_those_of_a_cpu(self, name: str, method: Method) -> None:
        network, shape = (image_network(), IMAGE) if name == "CNN" else (made(name), SHAPE)
        here, there = (record(copy.deepcopy(network), shape, device, method) for device in ("cpu", GPU))
        for quantity in QUANTITIES:
            np.testing.assert_allclose(there[quantity], here[quantity], rtol=1e-5, err_msg=quantity)

    @pytest.mark.parametrize(("precision", "close"), [("float32", 1e-4), ("tf32", 0.2), ("bfloat16", 1.0)])
    def test_in_fewer_bits(self, precision: Precision, close: float) -> None:
        exact = record(small_cnn().double(), IMAGE, "cpu", "forward")["curvature"]
        found = record(small_cnn(), IMAGE, GPU, "forward", precision)["curvature"]
        off = float(np.median(np.abs(found - exact) / exact))
        assert off < close


def test_a_label_that_is_no_class_is_an_error_and_not_the_end_of_the_process() -> None:
    inputs, labels = samples(50, IMAGE)
    labels[17] = 3
    network = small_cnn().to(GPU)
    batches = list(in_batches(inputs.float().to(GPU), labels.to(GPU), 8))
    with pytest.raises(ValueError, match="labels are 0 to 3: with 3 logits"):
        list(record_epoch(network, batches, ForwardDifference(0.1), epoch=1))
    with pytest.raises(ValueError, match="labels are 0 to 3: with 3 logits"):
        ProbeNormRecorder(network, batches, "float32", epoch=1, keep=True)
    assert torch.zeros(1, device=GPU).item() == 0


def test_numbers_that_are_not_finite_are_an_error() -> None:
    inputs, labels = samples(50, IMAGE)
    network = small_cnn().to(GPU)
    batches = list(in_batches(inputs.float().to(GPU), labels.to(GPU), 8))
    batches[3][0][2] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite for 1 samples of a batch: the inputs are not"):
        list(record_epoch(network, batches, ForwardDifference(0.1), epoch=1))


def test_batch_size_and_rank_agreement() -> None:
    inputs, labels = samples(1024, IMAGE)
    network = small_cnn().to(GPU)
    moved = inputs.float().to(GPU), labels.to(GPU)
    size = fastest_batch_size(network, *moved, ForwardDifference(0.1))
    assert size in {2**power for power in range(4, 11)}
    batches = list(in_batches(*moved, 256))
    found = rank_agreement(network, batches, ForwardDifference(0.1), ["bfloat16", "tf32", "float32"], epoch=1)
    assert found["float32"]["curvature"] > 0.99999
    assert found["tf32"]["curvature"] > found["bfloat16"]["curvature"] > 0
