"""The curvature estimate, against exact derivatives and closed forms."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cases import CLASSES, IMAGE, image_network, sample_hessian, samples, smooth_network
from torch import Tensor, nn

from memtrack.core.recording.curvature import (
    ESTIMATORS,
    CentralDifference,
    Estimator,
    ForwardDifference,
    HessianProduct,
    Method,
    Norm,
    curvature,
    rademacher_probe,
)
from memtrack.core.recording.precision import SMALLEST_SCALE, Precision
from memtrack.core.recording.recorder import record_epoch

METHODS: list[Method] = ["forward", "central", "hessian"]
NORMS: list[Norm] = ["plain", "squared"]
CORNERS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)
"""All directions in four dimensions."""


class TestAgainstTheHessian:
    @pytest.mark.parametrize(
        ("method", "scale", "rel"),
        [("forward", 1e-6, 1e-4), ("central", 1e-4, 1e-6), ("hessian", 1.0, 1e-6)],
        ids=METHODS,
    )
    @pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus])
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("probes", [1, 3])
    def test_length_of_hessian_times_probe(
        self, activation: type[nn.Module], norm: Norm, probes: int, method: Method, scale: float, rel: float
    ) -> None:
        """The differences at a small step, the product at any."""
        network = smooth_network(activation)
        inputs, labels = samples(6, (5,))
        options: dict[str, Any] = {"probes": probes, "norm": norm, "seed": 4, "epoch": 9}
        found = curvature(network, inputs, labels, scale=scale, method=method, **options)
        directions = [
            rademacher_probe((5,), seed=4, epoch=9, probe=number).double() for number in range(probes)
        ]
        power = 2 if norm == "squared" else 1
        expected = []
        for sample, label in zip(inputs, labels, strict=True):
            hessian = sample_hessian(network, sample, label)
            lengths = [math.hypot(*(hessian @ direction).tolist()) for direction in directions]
            expected.append(sum(length**power for length in lengths) / probes)
        assert found.tolist() == pytest.approx(expected, rel=rel)

    @pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2)])
    @pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus])
    def test_error_falls_with_the_step(self, activation: type[nn.Module], method: Method, order: int) -> None:
        """By 2^order where the step is halved; in float64, at powers of two, that the step is exact."""
        network, (inputs, labels) = smooth_network(activation), samples(6, (5,))
        direction = rademacher_probe((5,), seed=0, epoch=0, probe=0)
        pairs = zip(inputs, labels, strict=True)
        exact = torch.stack([sample_hessian(network, *pair) @ direction.double() for pair in pairs])
        gradient = gradients(network, inputs, labels)
        errors = []
        for power in range(6, 11):
            estimator = ESTIMATORS[method](2.0**-power)
            (found,) = estimator.products(network, inputs, labels, gradient, [direction])
            errors.append((found - exact).norm().item())
        slopes = [math.log2(one / next_) for one, next_ in itertools.pairwise(errors)]
        assert slopes == pytest.approx([order] * 4, abs=0.1)

    @pytest.mark.parametrize("norm", NORMS)
    def test_closed_form_of_softmax_regression(self, norm: Norm) -> None:
        """H = W^T (diag(p) - p p^T) W."""
        network, (inputs, labels) = nn.Linear(5, CLASSES).double(), samples(6, (5,))
        weight = network.weight.detach()
        found = curvature(network, inputs, labels, scale=1.0, norm=norm, seed=2, method="hessian")
        direction = rademacher_probe((5,), seed=2, epoch=0, probe=0).double()
        for number, shares in enumerate(network(inputs).detach().softmax(1)):
            hessian = weight.T @ (shares.diag() - shares.outer(shares)) @ weight
            length = (hessian @ direction).norm().item()
            assert found[number].item() == pytest.approx(length**2 if norm == "squared" else length, rel=1e-6)

    def test_squared_over_all_directions_is_the_squared_hessian_norm(self) -> None:
        """The mean of ||Hv||^2 over all 2^4 sign vectors v is Tr(H^2), with no randomness left."""
        network, (inputs, labels) = smooth_network(inputs=4), samples(5, (4,))
        gradient = gradients(network, inputs, labels)
        estimator = ForwardDifference(1e-6, norm="squared")
        found = estimator.estimate(network, inputs, labels, gradient, list(CORNERS))
        traces = [
            sample_hessian(network, *pair).square().sum().item() for pair in zip(inputs, labels, strict=True)
        ]
        assert found.tolist() == pytest.approx(traces, rel=1e-4)

    @pytest.mark.parametrize("norm", NORMS)
    def test_many_probes_converge_to_the_mean_over_all_directions(self, norm: Norm) -> None:
        """Within 4 standard errors, which all 2^4 directions tell."""
        network, (inputs, labels) = smooth_network(inputs=4), samples(5, (4,))
        probes = 250
        found = curvature(network, inputs, labels, scale=1e-6, probes=probes, norm=norm)
        for number, (sample, label) in enumerate(zip(inputs, labels, strict=True)):
            lengths = (CORNERS @ sample_hessian(network, sample, label)).norm(dim=1)
            values = lengths.square() if norm == "squared" else lengths
            mean, error = values.mean().item(), values.std(correction=0).item() / math.sqrt(probes)
            assert abs(found[number].item() - mean) < 4 * error + 1e-4 * mean

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
    def test_closed_form_at_a_large_step(self, norm: Norm, scale: float) -> None:
        """Loss log(1 + e^-wx) at x = 0: the gradient moves by w/2 tanh(wh/2), whatever v's sign."""
        weight = 1.7
        network = nn.Linear(1, 2, bias=False)
        network.weight.data = torch.tensor([[0.0], [weight]])
        found = curvature(network, torch.zeros(1, 1), torch.tensor([1]), scale=scale, probes=4, norm=norm)
        length = weight / 2 * math.tanh(weight * scale / 2) / scale
        assert found.item() == pytest.approx(length**2 if norm == "squared" else length, rel=1e-5)

    @pytest.mark.parametrize("norm", NORMS)
    def test_scales_with_the_curvature_of_the_loss(self, norm: Norm) -> None:
        """Inputs in units twice as small have a Hessian four times smaller."""
        network, (inputs, labels) = smooth_network(), samples(4, (5,))
        halved = smooth_network()
        assert isinstance(halved[0], nn.Linear)
        halved[0].weight.data /= 2
        before = curvature(network, inputs, labels, scale=0.1, norm=norm)
        after = curvature(halved, 2 * inputs, labels, scale=0.2, norm=norm)
        factor = 16 if norm == "squared" else 4
        torch.testing.assert_close(after * factor, before, rtol=1e-5, atol=0)


HEIGHT, KINK = 1.7, 0.05
"""Of a network with one hidden unit: logits (0, HEIGHT relu(x - KINK)), and its loss for label 1 is
log(1 + exp(-HEIGHT relu(x - KINK)))."""


def kinked_network() -> nn.Sequential:
    hidden, last = nn.Linear(1, 1), nn.Linear(1, 2, bias=False)
    network = nn.Sequential(hidden, nn.ReLU(), last).double()
    hidden.weight.data.fill_(1.0)
    hidden.bias.data.fill_(-KINK)
    last.weight.data = torch.tensor([[0.0], [HEIGHT]], dtype=torch.float64)
    return network


def kinked_slope(x: float) -> float:
    """The derivative of that loss: none below the kink, where the unit is off."""
    return -HEIGHT / (1 + math.exp(HEIGHT * (x - KINK))) if x > KINK else 0.0


def kinked_estimate(kind: type[Estimator], x: float, scale: float, sign: float) -> float:
    network, label = kinked_network(), torch.tensor([1])
    inputs = torch.tensor([[x]], dtype=torch.float64)
    gradient = torch.tensor([[kinked_slope(x)]], dtype=torch.float64)
    return kind(scale).estimate(network, inputs, label, gradient, [torch.tensor([sign])]).item()


STEPS = pytest.mark.parametrize(
    ("x", "scale", "sign", "ahead", "behind"),
    [
        (0.0, 0.1, 1, True, False),
        (0.0, 0.1, -1, False, True),
        (0.0, 0.02, 1, False, False),
        (0.0, 0.02, -1, False, False),
        (0.08, 0.1, 1, False, True),
        (0.08, 0.1, -1, True, False),
        (0.08, 0.01, 1, False, False),
    ],
)
"""Steps from x by scale * sign: whether the kink lies ahead of it, or behind as far away."""


class TestKinks:
    """A network that is linear in pieces, so that only what crosses a kink sees it."""

    @STEPS
    def test_forward_sees_the_kink_only_if_the_step_crosses_it(
        self, x: float, scale: float, sign: float, ahead: bool, behind: bool
    ) -> None:
        found = kinked_estimate(ForwardDifference, x, scale, sign)
        jump = kinked_slope(x + scale * sign) - kinked_slope(x)
        assert found == pytest.approx(abs(jump) / scale, rel=1e-5)
        assert (found > HEIGHT**2 / 4) == ahead  # more than the softmax alone can bend

    @STEPS
    def test_central_sees_the_kink_if_either_side_crosses_it(
        self, x: float, scale: float, sign: float, ahead: bool, behind: bool
    ) -> None:
        found = kinked_estimate(CentralDifference, x, scale, sign)
        jump = kinked_slope(x + scale) - kinked_slope(x - scale)
        assert found == pytest.approx(abs(jump) / (2 * scale), rel=1e-5)
        assert (found > HEIGHT**2 / 4) == (ahead or behind)

    @STEPS
    def test_hessian_misses_the_kink(
        self, x: float, scale: float, sign: float, ahead: bool, behind: bool
    ) -> None:
        """It is p (1 - p) HEIGHT^2 where the unit is on, and nothing where it is off."""
        share = -kinked_slope(x) / HEIGHT
        expected = share * (1 - share) * HEIGHT**2 if x > KINK else 0.0
        assert kinked_estimate(HessianProduct, x, scale, sign) == pytest.approx(expected, rel=1e-6)


class TestPrecision:
    @pytest.mark.parametrize("method", ["forward", "central"])
    @pytest.mark.parametrize("precision", SMALLEST_SCALE)
    def test_a_step_that_rounding_swallows_is_refused(self, method: Method, precision: Precision) -> None:
        network, (inputs, labels) = smooth_network().float(), samples(3, (5,))
        least = SMALLEST_SCALE[precision]
        options: dict[str, Any] = {"method": method, "precision": precision}
        with pytest.raises(ValueError, match=rf"\(h\) is {0.9 * least}: at {precision}.* least {least},"):
            curvature(network, inputs.float(), labels, scale=0.9 * least, **options)
        curvature(network, inputs.float(), labels, scale=least, **options)

    @pytest.mark.parametrize("method", ["forward", "central"])
    def test_float64_may_take_it(self, method: Method) -> None:
        network, (inputs, labels) = smooth_network(), samples(3, (5,))
        assert curvature(network, inputs, labels, scale=1e-6, method=method).min() > 0
        assert curvature(network, inputs, labels, scale=1e-6, method=method, precision="tf32").min() > 0
        with pytest.raises(ValueError, match="at bfloat16"):
            curvature(network, inputs, labels, scale=1e-6, method=method, precision="bfloat16")

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_network_of_half_precision(self, dtype: torch.dtype) -> None:
        network, (inputs, labels) = smooth_network(), samples(20, (5,))
        exact = curvature(network, inputs, labels, scale=0.1)
        found = curvature(copy.deepcopy(network).to(dtype), inputs.to(dtype), labels, scale=0.1)
        assert np.corrcoef(exact, found)[0, 1] > 0.95
        with pytest.raises(ValueError, match="at bfloat16"):
            curvature(copy.deepcopy(network).to(dtype), inputs.to(dtype), labels, scale=0.001)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_the_product_takes_no_step(self, precision: Precision) -> None:
        network, (inputs, labels) = smooth_network().float(), samples(3, (5,))
        found = [
            curvature(network, inputs.float(), labels, scale=scale, method="hessian", precision=precision)
            for scale in (1e-9, 1.0)
        ]
        assert torch.equal(*found)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("norm", NORMS)
    def test_bfloat16_is_close_to_float32(self, method: Method, norm: Norm) -> None:
        """Within 15% (30% of the square) at h = 0.1, though a bfloat16 has 8 bits; and not the same."""
        network, (inputs, labels) = smooth_network().float(), samples(8, (5,))
        options: dict[str, Any] = {"scale": 0.1, "probes": 4, "norm": norm, "method": method}
        whole = curvature(network, inputs.float(), labels, **options)
        short = curvature(network, inputs.float(), labels, precision="bfloat16", **options)
        assert short.dtype == torch.float32
        torch.testing.assert_close(short, whole, rtol=0.3 if norm == "squared" else 0.15, atol=0)
        assert ((short - whole).abs() / whole).max() > 1e-4

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("images", [False, True])
    def test_float32_holds_within_an_autocast_around_it(self, method: Method, images: bool) -> None:
        network = (image_network() if images else smooth_network()).float()
        inputs, labels = samples(6, IMAGE if images else (5,))
        expected = curvature(network, inputs.float(), labels, scale=0.1, method=method)
        with torch.autocast("cpu", torch.bfloat16):
            found = curvature(network, inputs.float(), labels, scale=0.1, method=method)
        assert torch.equal(found, expected)


class TestCompiledModel:
    @pytest.fixture(autouse=True)
    def _forgotten(self) -> Iterator[None]:
        yield
        torch.compiler.reset()

    @pytest.mark.parametrize(
        ("backend", "methods"), [("eager", METHODS), ("aot_eager", ["forward", "central"])]
    )
    def test_gives_the_same_numbers(self, backend: str, methods: list[Method]) -> None:
        network, (inputs, labels) = image_network(), samples(6, IMAGE)
        compiled: Any = torch.compile(image_network(), backend=backend)
        for method in methods:
            found = curvature(compiled, inputs, labels, scale=0.1, method=method)
            expected = curvature(network, inputs, labels, scale=0.1, method=method)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
        assert all(module.training for module in compiled.modules())
        assert all(parameter.requires_grad for parameter in compiled.parameters())

    def test_that_cannot_be_differentiated_twice_is_an_error(self) -> None:
        """Not a number that is wrong."""
        compiled: Any = torch.compile(image_network(), backend="aot_eager")
        with pytest.raises(RuntimeError):
            curvature(compiled, *samples(6, IMAGE), scale=0.1, method="hessian")
        assert all(module.training for module in compiled.modules())


class TestEachSampleAlone:
    """The value of a sample does not depend on which other samples are measured with it."""

    @pytest.mark.parametrize("size", [1, 7])
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("images", [False, True])
    @pytest.mark.parametrize("method", METHODS)
    def test_batch_size(self, size: int, norm: Norm, images: bool, method: Method) -> None:
        network = image_network() if images else smooth_network()
        inputs, labels = samples(14, IMAGE if images else (5,))
        options: dict[str, Any] = {"scale": 0.1, "probes": 2, "norm": norm, "method": method}
        whole = curvature(network, inputs, labels, **options)
        parts = [
            curvature(network, batch, given, **options)
            for batch, given in zip(inputs.split(size), labels.split(size), strict=True)
        ]
        assert whole.min() > 0
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=0)

    @pytest.mark.parametrize("images", [False, True])
    def test_order(self, images: bool) -> None:
        network = image_network() if images else smooth_network()
        inputs, labels = samples(14, IMAGE if images else (5,))
        order = torch.randperm(14, generator=torch.Generator().manual_seed(1))
        straight = curvature(network, inputs, labels, scale=0.1)
        shuffled = curvature(network, inputs[order], labels[order], scale=0.1)
        assert straight.unique().numel() == 14
        torch.testing.assert_close(shuffled, straight[order], rtol=1e-5, atol=0)


class TestProbes:
    def test_entries_are_signs_with_equal_chance(self) -> None:
        probe = rademacher_probe((100, 100), seed=0, epoch=0, probe=0)
        assert probe.dtype == torch.float32
        assert probe.shape == (100, 100)
        assert set(probe.unique().tolist()) == {-1.0, 1.0}
        assert abs(probe.mean().item()) < 4 / 100

    def test_pinned(self) -> None:
        """The same on every machine and for every release of the code."""
        probe = rademacher_probe((2, 4), seed=3, epoch=5, probe=1)
        assert probe.tolist() == [[1, -1, 1, 1], [1, -1, -1, 1]]

    @pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"probe": 1}])
    def test_differ_by_seed_epoch_and_number(self, change: dict[str, int]) -> None:
        base = {"seed": 0, "epoch": 0, "probe": 0}
        one = rademacher_probe((1000,), **base)
        other = rademacher_probe((1000,), **base | change)
        assert abs((one * other).mean().item()) < 4 / math.sqrt(1000)

    @pytest.mark.parametrize("norm", NORMS)
    def test_are_nested(self, norm: Norm) -> None:
        """A run with n probes is the mean of the first n probes, each measured alone."""
        network, (inputs, labels) = smooth_network(), samples(5, (5,))
        with torch.no_grad():
            single = []
            for number in range(4):
                direction = rademacher_probe((5,), seed=2, epoch=6, probe=number)
                estimator = ForwardDifference(0.1, 1, norm)
                gradient = gradients(network, inputs, labels)
                single.append(estimator.estimate(network, inputs, labels, gradient, [direction]))
        for probes in range(1, 5):
            found = curvature(network, inputs, labels, scale=0.1, probes=probes, norm=norm, seed=2, epoch=6)
            expected = torch.stack(single[:probes]).mean(0)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)

    def test_result_is_fixed_by_seed_and_epoch(self) -> None:
        network, (inputs, labels) = smooth_network(), samples(5, (5,))

        def run(seed: int, epoch: int) -> list[float]:
            return curvature(network, inputs, labels, scale=0.1, seed=seed, epoch=epoch).tolist()

        first = run(3, 8)
        assert run(3, 8) == first
        assert run(4, 8) != first
        assert run(3, 9) != first

    def test_no_global_generator_is_used(self) -> None:
        state = torch.get_rng_state()
        curvature(smooth_network(), *samples(5, (5,)), scale=0.1, probes=3)
        assert torch.equal(torch.get_rng_state(), state)


def gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Softmax minus one-hot, pulled back to the inputs."""
    with torch.enable_grad():
        inputs = inputs.clone().requires_grad_(True)
        logits = network(inputs)
        residual = logits.detach().softmax(1) - nn.functional.one_hot(labels, CLASSES)
        (gradient,) = torch.autograd.grad(logits, inputs, residual)
    return gradient


class FailsAtCall(nn.Module):
    """A network that raises in one of its calls (none for 0)."""

    def __init__(self, network: nn.Module, call: int) -> None:
        super().__init__()
        self.network = network
        self.call = call
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.call:
            raise RuntimeError("out of memory")
        logits: Tensor = self.network(inputs)
        return logits


class TestLeavesTheModelAsFound:
    @pytest.mark.parametrize("call", [0, 1, 2], ids=["success", "first call", "second call"])
    @pytest.mark.parametrize("method", METHODS)
    def test_flags_gradients_and_buffers(self, call: int, method: Method) -> None:
        network = image_network()
        network[1].eval()  # as when a part is fine-tuned
        network[0][0].weight.requires_grad_(False)
        for parameter in network[1].parameters():
            parameter.requires_grad_(False)
        network[4].weight.grad = torch.full_like(network[4].weight, 0.5)
        model = FailsAtCall(network, call)
        modes = [module.training for module in model.modules()]
        flags = [parameter.requires_grad for parameter in model.parameters()]
        state = {name: value.clone() for name, value in model.state_dict().items()}
        assert set(modes) == set(flags) == {True, False}

        inputs, labels = samples(6, IMAGE)
        if call:
            with pytest.raises(RuntimeError, match="out of memory"):
                curvature(model, inputs, labels, scale=0.1, method=method)
        else:
            curvature(model, inputs, labels, scale=0.1, method=method)

        assert [module.training for module in model.modules()] == modes
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name]), name
        for name, parameter in network.named_parameters():
            if name == "4.weight":
                assert parameter.grad is not None
                assert (parameter.grad == 0.5).all()
            else:
                assert parameter.grad is None, name

    def test_model_can_still_be_trained(self) -> None:
        network, (inputs, labels) = image_network(), samples(6, IMAGE)
        curvature(network, inputs, labels, scale=0.1)
        nn.functional.cross_entropy(network(inputs), labels).backward()
        assert all(parameter.grad is not None for parameter in network.parameters())

    def test_inputs_are_not_touched(self) -> None:
        inputs, labels = samples(6, (5,))
        before = inputs.clone()
        found = curvature(smooth_network(), inputs, labels, scale=0.1)
        assert torch.equal(inputs, before)
        assert not inputs.requires_grad
        assert inputs.grad is None
        assert not found.requires_grad

    def test_measures_in_eval_mode(self) -> None:
        training, evaluating = image_network(), image_network().eval()
        inputs, labels = samples(6, IMAGE)
        found = curvature(training, inputs, labels, scale=0.1)
        assert torch.equal(found, curvature(evaluating, inputs, labels, scale=0.1))

    @pytest.mark.parametrize("method", METHODS)
    def test_works_under_no_grad(self, method: Method) -> None:
        network, (inputs, labels) = smooth_network(), samples(6, (5,))
        expected = curvature(network, inputs, labels, scale=0.1, method=method)
        with torch.no_grad():
            found = curvature(network, inputs, labels, scale=0.1, method=method)
            assert not torch.is_grad_enabled()
        assert torch.equal(found, expected)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scale": 0.0}, "scale"),
            ({"scale": -0.1}, "scale"),
            ({"scale": math.nan}, "scale"),
            ({"scale": math.inf}, "scale"),
            ({"scale": 0.1, "probes": 0}, "probes"),
            ({"scale": 0.1, "probes": -1}, "probes"),
            ({"scale": 0.1, "norm": "l1"}, "norm"),
            ({"scale": 0.1, "method": "backward"}, "method"),
            ({"scale": 0.1, "precision": "float16"}, "precision"),
        ],
    )
    def test_out_of_range(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{message}"):
            curvature(smooth_network(), *samples(2, (5,)), **options)

    @pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
    def test_integer_inputs(self, kind: torch.dtype) -> None:
        inputs = torch.zeros(2, 5, dtype=kind)
        with pytest.raises(ValueError, match="floating point"):
            curvature(smooth_network(), inputs, torch.tensor([0, 1]), scale=0.1)

    @pytest.mark.parametrize("kind", [torch.float32, torch.float64])
    @pytest.mark.parametrize("method", METHODS)
    def test_result_is_one_float32_per_sample(self, kind: torch.dtype, method: Method) -> None:
        inputs, labels = samples(6, (5,))
        found = curvature(smooth_network().to(kind), inputs.to(kind), labels, scale=0.1, method=method)
        assert found.shape == (6,)
        assert found.dtype == torch.float32


class TestBadInput:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([0, 1, -100], "labels are -100 to 1: with 3 logits they should be 0 to 2"),
            ([0, 1, 3], "labels are 0 to 3: with 3 logits they should be 0 to 2"),
            ([0.0, 1.0, 2.0], r"should be int64 \(3,\)"),
            ([[0], [1], [2]], r"labels are torch.int64 \(3, 1\): they should be int64 \(3,\)"),
            ([0, 1], r"\(2,\): they should be int64 \(3,\)"),
        ],
    )
    def test_labels(self, labels: Any, expected: str) -> None:
        network, inputs = nn.Linear(4, 3), torch.zeros(3, 4)
        batch = (inputs, torch.tensor(labels))
        with pytest.raises(ValueError, match=expected):
            curvature(network, *batch, scale=0.1)
        with pytest.raises(ValueError, match=expected):
            list(record_epoch(network, [batch], ForwardDifference(0.1), epoch=1))

    def test_a_model_that_gives_no_logits(self) -> None:
        batch = (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"the model gives \(3, 1\): .*classes >= 2"):
            curvature(nn.Linear(4, 1), *batch, scale=0.1)

    def test_inputs_that_are_not_finite_are_not_called_a_divergence(self) -> None:
        batch = (torch.tensor([[1.0, float("nan")]]), torch.zeros(1, dtype=torch.int64))
        with pytest.raises(FloatingPointError, match="the inputs are not finite"):
            list(record_epoch(nn.Linear(2, 3), [batch], ForwardDifference(0.1), epoch=1))
