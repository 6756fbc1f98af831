"""How well a precision keeps the order of the samples."""

from __future__ import annotations

import copy

import pytest
import torch
from cases import IMAGE, Branching, in_batches, samples, small_cnn, surroundings
from scipy.stats import spearmanr
from torch import Tensor, nn

from memtrack.core.recording.curvature import ForwardDifference, curvature
from memtrack.core.recording.rank_agreement import rank_agreement

H = 0.03


def batches(count: int = 60, size: int = 20) -> list[tuple[Tensor, Tensor]]:
    inputs, labels = samples(count, IMAGE)
    return list(in_batches(inputs.float(), labels, size))


def test_against_the_ranks_of_all_samples_at_once() -> None:
    network, (inputs, labels) = Branching(small_cnn()), samples(60, IMAGE)
    before = surroundings()
    found = rank_agreement(
        network, batches(), ForwardDifference(H, probes=2), ["bfloat16", "tf32", "float32"], epoch=3
    )
    assert surroundings() == before
    options = {"scale": H, "probes": 2, "epoch": 3}
    exact = curvature(copy.deepcopy(network).double(), inputs.float().double(), labels, **options)  # type: ignore[arg-type]
    short = curvature(network, inputs.float(), labels, precision="bfloat16", **options)  # type: ignore[arg-type]
    assert found["bfloat16"]["curvature"] == pytest.approx(spearmanr(short, exact).statistic, abs=1e-6)
    assert found["bfloat16"]["curvature"] < 0.9999
    for precision in ("tf32", "float32"):  # on a CPU the same
        assert min(found[precision].values()) > 0.9999
    assert network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


class Single(nn.Module):
    """A network that cannot run in float64, or not in bfloat16."""

    def __init__(self, refused: torch.dtype) -> None:
        super().__init__()
        self.network, self.refused = small_cnn(), refused

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        if logits.dtype == self.refused:
            raise RuntimeError("not implemented for this type")
        return logits


@pytest.mark.parametrize(("refused", "expected"), [(torch.float64, [-1, -1]), (torch.bfloat16, [-1, 1])])
def test_a_network_that_cannot_be_measured_agrees_with_nothing(
    refused: torch.dtype, expected: list[int]
) -> None:
    found = rank_agreement(Single(refused), batches(), ForwardDifference(H), ["bfloat16", "tf32"], epoch=1)
    assert [round(found[name]["curvature"]) for name in ("bfloat16", "tf32")] == expected


def test_numbers_that_are_all_the_same_agree_with_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    for parameter in network.parameters():
        parameter.data.zero_()
    found = rank_agreement(network, batches(), ForwardDifference(H), ["bfloat16"], epoch=1)
    assert found == {"bfloat16": {"curvature": -1.0, "input_gradient_norm": -1.0}}
