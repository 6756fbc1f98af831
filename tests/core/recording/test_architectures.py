"""The recorder on the kinds of networks that people use, against single samples in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, SHAPE, made, norms_and_dropouts
from cases import in_batches, sample_gradient, sample_loss, samples, surroundings
from torch import Tensor, nn

from memtrack.core.recording.curvature import ESTIMATORS, Method, curvature, rademacher_probe
from memtrack.core.recording.eval_mode import folded, loss_gradient
from memtrack.core.recording.features import features
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.recorder import joined, record_epoch

COUNT, H = 5, 0.05


def probe() -> Tensor:
    return rademacher_probe(SHAPE, seed=0, epoch=1, probe=0).double()


def alone(network: nn.Module, measure: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    """A number of each sample by itself."""
    network.eval()
    return [measure(*pair).item() for pair in zip(*samples(COUNT, SHAPE), strict=True)]


def recorded(
    network: nn.Module, method: Method = "forward", precision: Precision = "float32"
) -> dict[str, Any]:
    inputs, labels = samples(COUNT, SHAPE)
    batches = in_batches(inputs.to(next(network.parameters()).dtype), labels, 3)
    return joined(record_epoch(network, batches, ESTIMATORS[method](H, precision=precision), epoch=1))


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ARCHITECTURES)
class TestEveryArchitecture:
    def test_is_recorded_as_each_sample_alone(self, name: str) -> None:
        network = made(name)
        before = surroundings()
        found = recorded(network)
        assert surroundings() == before
        assert all(module.training for module in network.modules())

        def slope(sample: Tensor, label: Tensor) -> Tensor:
            return sample_gradient(network, sample, label)

        expected = {
            "loss": alone(network, lambda *pair: sample_loss(network, *pair)),
            "input_gradient_norm": alone(network, lambda *pair: slope(*pair).norm()),
            "curvature": alone(network, lambda x, y: (slope(x + H * probe(), y) - slope(x, y)).norm() / H),
        }
        for quantity, values in expected.items():
            np.testing.assert_allclose(found[quantity], values, rtol=1e-5, err_msg=quantity)

    def test_exact_products_are_the_change_of_the_gradient(self, name: str) -> None:
        network, step = made(name), 1e-5

        def product(sample: Tensor, label: Tensor) -> Tensor:
            ahead, behind = (
                sample_gradient(network, sample + way * step * probe(), label) for way in (1, -1)
            )
            return (ahead - behind).norm() / (2 * step)

        before = surroundings()
        found = recorded(network, "hessian")["curvature"]
        assert surroundings() == before
        np.testing.assert_allclose(found, alone(network, product), rtol=1e-5)

    def test_the_folded_copy_is_right_or_refused(self, name: str) -> None:
        network, (inputs, labels) = made(name).eval(), samples(COUNT, SHAPE)
        copied = folded(network, inputs)
        if copied is not None:
            expected = loss_gradient(network, inputs, labels)
            for one, other in zip(loss_gradient(copied, inputs, labels), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)

    def test_in_fewer_bits(self, name: str) -> None:
        network, (inputs, labels) = made(name), samples(COUNT, SHAPE)
        exact = curvature(network, inputs, labels, scale=H, epoch=1)
        found = recorded(network.float(), precision="bfloat16")["curvature"]
        assert np.corrcoef(found, exact)[0, 1] > 0.9

    def test_features_are_what_the_last_layer_sees(self, name: str) -> None:
        network, (inputs, labels) = made(name), samples(COUNT, SHAPE)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        (found,) = features(network, [(inputs, labels)])
        with torch.no_grad():
            logits = last(torch.from_numpy(found).double())
            torch.testing.assert_close(logits, network.eval()(inputs), rtol=1e-5, atol=1e-5)


class Halves(nn.Module):
    """A float16 buffer within a float32 network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = norms_and_dropouts()
        self.register_buffer("scale", torch.tensor([0.5, 1.5, 2.0], dtype=torch.float16).reshape(3, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs * self.get_buffer("scale"))
        return logits


class TestTypes:
    def test_float16_buffers(self) -> None:
        torch.manual_seed(3)
        network = Halves()
        exact = recorded(copy.deepcopy(network).double())
        found = recorded(network)
        assert network.get_buffer("scale").dtype == torch.float16
        for quantity in ("loss", "input_gradient_norm", "curvature"):
            np.testing.assert_allclose(found[quantity], exact[quantity], rtol=1e-3)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("name", ["ConvNeXt", "attention"])
    def test_parameters_of_half_precision(self, name: str, dtype: torch.dtype) -> None:
        exact, found = recorded(made(name)), recorded(made(name).to(dtype))
        for quantity in ("loss", "input_gradient_norm", "curvature"):
            assert found[quantity].dtype == np.float32
            np.testing.assert_allclose(found[quantity], exact[quantity], rtol=0.2)

    def test_parameters_of_another_type_than_the_inputs(self) -> None:
        inputs, labels = samples(COUNT, SHAPE)
        with pytest.raises(RuntimeError, match="should be the same"):
            curvature(made("ConvNeXt").half(), inputs.float(), labels, scale=H)
