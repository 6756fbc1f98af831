"""How a network is measured: what holds within, what is put back, and the folded copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cases import (
    IMAGE,
    Branching,
    SharedConvolution,
    image_network,
    sample_gradient,
    samples,
    small_cnn,
    surroundings,
)
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from memtrack.core.recording.curvature import Method, curvature
from memtrack.core.recording.eval_mode import channels_last, folded, frozen_eval, loss_gradient
from memtrack.core.recording.precision import Precision
from memtrack.core.training.models.torchvision import torchvision_model

METHODS: list[Method] = ["forward", "central", "hessian"]


def per_sample_gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([sample_gradient(network, *pair) for pair in zip(inputs, labels, strict=True)])


class Witness(nn.Module):
    """Notes what holds while it is called, and raises in one of its calls (none for 0)."""

    def __init__(self, network: nn.Module, call: int = 0) -> None:
        super().__init__()
        self.network = network
        self.call = call
        self.seen: list[dict[str, Any]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        flags = {parameter.requires_grad for parameter in self.parameters()}
        modes = {module.training for module in self.modules()}
        self.seen.append(surroundings() | {"flags": flags, "modes": modes})
        if len(self.seen) == self.call:
            raise RuntimeError("out of memory")
        logits: Tensor = self.network(inputs)
        return logits


@pytest.fixture
def short_floats() -> Iterator[None]:
    """TensorFloat-32 and its like are allowed, as many training scripts have it."""
    libraries: list[Any] = [torch.backends.cudnn, torch.backends.mkldnn]
    backends = [part for library in libraries for part in (library.conv, library.rnn)]
    backends += [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32"
    yield
    for backend, precision in zip(backends, before, strict=True):
        backend.fp32_precision = precision


@pytest.mark.usefixtures("short_floats")
class TestSurroundings:
    @pytest.mark.parametrize("method", METHODS)
    def test_within_the_network_is_frozen_and_floats_are_whole(self, method: Method) -> None:
        network = Witness(image_network())
        curvature(network, *samples(3, IMAGE), scale=0.1, method=method)
        assert len(network.seen) >= 2
        for seen in network.seen:
            assert seen["flags"] == {False}
            assert seen["modes"] == {False}
            for library, parts in {"cudnn": ["conv", "rnn"], "mkldnn": ["conv", "rnn", "matmul"]}.items():
                assert [seen[f"{library}.{part}"] for part in parts] == ["ieee"] * len(parts)
            assert seen["cuda.matmul"] == "ieee"

    @pytest.mark.parametrize("method", METHODS)
    def test_with_tf32_a_gpu_may_use_it(self, method: Method) -> None:
        """And a CPU computes as in float32."""
        network = Witness(image_network().float())
        inputs, labels = samples(3, IMAGE)
        before = surroundings()
        found, expected = (
            curvature(network, inputs.float(), labels, scale=0.1, method=method, precision=precision)
            for precision in ("tf32", "float32")  # type: ignore[assignment]
        )
        assert surroundings() == before
        assert torch.equal(found, expected)
        inside = len(network.seen) // 2
        for number, seen in enumerate(network.seen):
            for name in ("cudnn.conv", "cudnn.rnn", "cuda.matmul"):
                assert seen[name] == ("tf32" if number < inside else "ieee")
            for name in ("mkldnn.conv", "mkldnn.rnn", "mkldnn.matmul"):
                assert seen[name] == "ieee"

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("around", [True, False])
    def test_the_precision_holds_in_every_call(
        self, method: Method, precision: Precision, around: bool
    ) -> None:
        """Whatever autocast there is around it."""
        network = Witness(image_network().float())
        inputs, labels = samples(3, IMAGE)
        with torch.autocast("cpu", torch.float16, enabled=around):
            curvature(network, inputs.float(), labels, scale=0.1, method=method, precision=precision)
        assert [seen["autocast"] for seen in network.seen] == [precision == "bfloat16"] * len(network.seen)
        if precision == "bfloat16":
            assert {seen["autocast type"] for seen in network.seen} == {torch.bfloat16}

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("call", [0, 1, 2], ids=["success", "first call", "second call"])
    @pytest.mark.parametrize("gradients", [True, False])
    @pytest.mark.parametrize("autocast", [True, False])
    def test_are_put_back(self, method: Method, call: int, gradients: bool, autocast: bool) -> None:
        network = Witness(image_network(), call)
        inputs, labels = samples(3, IMAGE)
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            before = surroundings()
            if call:
                with pytest.raises(RuntimeError, match="out of memory"):
                    curvature(network, inputs, labels, scale=0.1, method=method)
            else:
                curvature(network, inputs, labels, scale=0.1, method=method)
            assert surroundings() == before
        assert before["cuda.matmul"] == "tf32"
        assert (before["gradients"], before["autocast"]) == (gradients, autocast)


class TestChannelsLast:
    def test_kernels_are_stored_so_and_put_back(self) -> None:
        network = small_cnn().eval()
        kernels = [module.weight for module in network if isinstance(module, nn.Conv2d)]
        before = [(kernel.data_ptr(), kernel.stride(), kernel.clone()) for kernel in kernels]
        inputs, labels = samples(3, IMAGE)
        expected = loss_gradient(network, inputs.float(), labels)
        with channels_last(network):
            for kernel, (_, _, values) in zip(kernels, before, strict=True):
                assert kernel.is_contiguous(memory_format=torch.channels_last)
                assert torch.equal(kernel, values)
            last = inputs.float().contiguous(memory_format=torch.channels_last)
            for found, wanted in zip(loss_gradient(network, last, labels), expected, strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        assert [(kernel.data_ptr(), kernel.stride()) for kernel in kernels] == [one[:2] for one in before]


class TestBatchNorm:
    @pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
    def test_without_running_statistics_is_refused_by_its_name(self, kind: type[_BatchNorm]) -> None:
        network = nn.Sequential(nn.Identity(), nn.ModuleDict({"odd": kind(4, track_running_stats=False)}))
        with pytest.raises(ValueError, match=r"'1\.odd' has no running statistics"), frozen_eval(network):
            pass
        assert all(module.training for module in network.modules())

    def test_with_running_statistics_is_not(self) -> None:
        with frozen_eval(nn.BatchNorm2d(4)):
            pass

    @pytest.mark.parametrize("kind", [nn.InstanceNorm2d, nn.Identity])
    def test_norms_within_a_sample_are_not(self, kind: type[nn.Module]) -> None:
        with frozen_eval(kind(4)):
            pass


def test_gradients_are_those_of_each_sample_alone() -> None:
    network, (inputs, labels) = image_network().eval(), samples(9, IMAGE)
    logits, found = loss_gradient(network, inputs, labels)
    torch.testing.assert_close(found, per_sample_gradients(network, inputs, labels), rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        expected = torch.cat([network(sample[None]) for sample in inputs])
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)
    assert not logits.requires_grad


def resnet() -> nn.Module:
    """A ResNet-18 in float64 whose batch norms do something."""
    with torch.random.fork_rng():
        torch.manual_seed(19)
        network = torchvision_model((3, 32, 32), 10, name="resnet18", small_stem=False).double().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
        return network


def linear_network() -> nn.Module:
    """A batch norm after a linear layer, and one between layers that it cannot be folded into."""
    with torch.random.fork_rng():
        torch.manual_seed(23)
        network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.BatchNorm1d(5))
        network = nn.Sequential(network, nn.Linear(5, 3)).double()
        for _ in range(3):
            network(3 * torch.randn(16, 6, dtype=torch.float64) + 1)
        return network.eval()


class ConvolutionTwice(nn.Module):
    """The batch norm changes one of the two uses of a convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        (self.convolution, self.norm, self.bend), *rest = image_network()
        self.rest = nn.Sequential(*rest)

    def forward(self, inputs: Tensor) -> Tensor:
        output = self.convolution(inputs)
        logits: Tensor = self.rest(self.bend(self.norm(output)) + output)
        return logits


class TestFolded:
    @pytest.mark.parametrize(
        ("make", "shape", "count", "folds"),
        [
            (image_network, IMAGE, 6, 2),
            (linear_network, (6,), 6, 1),
            (ConvolutionTwice, IMAGE, 6, 1),
            (resnet, (3, 32, 32), 1, 20),
        ],
        ids=["image network", "linear network", "convolution used twice", "resnet"],
    )
    def test_logits_and_gradients_in_float64(
        self, make: Callable[[], nn.Module], shape: tuple[int, ...], count: int, folds: int
    ) -> None:
        """Within rounding, with as many batch norms folded as stand right after a layer."""
        network, (inputs, labels) = make().eval(), samples(count, shape)
        copy = folded(network, inputs)
        assert copy is not None
        kept, norms = (
            sum(isinstance(module, _BatchNorm) for module in each.modules()) for each in (copy, network)
        )
        assert norms - kept == folds
        with torch.no_grad():
            torch.testing.assert_close(copy(inputs), network(inputs), rtol=1e-9, atol=1e-11)
        _, found = loss_gradient(copy, inputs, labels)
        expected = per_sample_gradients(network, inputs, labels)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())

    @pytest.mark.parametrize("make", [image_network, small_cnn])
    def test_logits_and_gradients_in_float32(self, make: Callable[[], nn.Module]) -> None:
        """Within 1e-5 of float64, of which a rounding is 6e-8."""
        inputs, labels = samples(6, IMAGE)
        exact = make().double().eval()
        copy = folded(make().float().eval(), inputs.float())
        assert copy is not None
        logits, gradient = loss_gradient(copy, inputs.float(), labels)
        with torch.no_grad():
            torch.testing.assert_close(logits.double(), exact(inputs), rtol=1e-5, atol=1e-5)
        expected = per_sample_gradients(exact, inputs, labels)
        scale = expected.abs().max().item()
        torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=1e-5 * scale)

    @pytest.mark.parametrize("make", [image_network, ConvolutionTwice, lambda: SharedConvolution(0.3)])
    def test_the_original_is_not_touched(self, make: Callable[[], nn.Module]) -> None:
        network, (inputs, _) = make().eval(), samples(4, IMAGE)
        modules = list(network.modules())
        state = {name: value.clone() for name, value in network.state_dict().items()}
        strides = {name: value.stride() for name, value in network.state_dict().items()}
        before = inputs.clone()
        folded(network, inputs)
        assert list(network.modules()) == modules
        assert all(parameter.requires_grad for parameter in network.parameters())
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name]), name
            assert value.stride() == strides[name], name
        assert torch.equal(inputs, before)

    def test_a_network_that_keeps_what_it_computed_still_works(self) -> None:
        """As many keep a grid of positions, made at the first call."""

        class Keeping(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = image_network()
                self.grid: Tensor | None = None

            def forward(self, inputs: Tensor) -> Tensor:
                if self.grid is None:
                    self.grid = inputs.new_ones(1)
                logits: Tensor = self.network(inputs * self.grid)
                return logits

        network, (inputs, _) = Keeping().eval(), samples(4, IMAGE)
        folded(network, inputs)
        assert torch.equal(network(inputs), image_network().eval()(inputs))

    def test_none_for_control_flow_that_depends_on_the_data(self) -> None:
        assert folded(Branching(image_network()).eval(), samples(4, IMAGE)[0]) is None

    def test_none_for_a_compiled_network(self) -> None:
        compiled: Any = torch.compile(image_network().eval(), backend="eager")
        assert folded(compiled, samples(4, IMAGE)[0]) is None

    def test_none_for_a_network_that_draws_random_numbers(self) -> None:
        class Noisy(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return nn.functional.dropout(inputs, 0.5, training=True)

        assert folded(Noisy().eval(), samples(4, (5,))[0]) is None

    @pytest.mark.parametrize("spread", [0.3, 1e-5])
    def test_none_if_the_kernel_of_a_convolution_is_used_by_itself_too(self, spread: float) -> None:
        class Tied(SharedConvolution):
            def forward(self, inputs: Tensor) -> Tensor:
                kernel, shift = self.convolution.weight, self.convolution.bias
                one = self.norm(self.convolution(inputs))
                other = nn.functional.conv2d(inputs.flip(3), kernel, shift, padding=1)
                logits: Tensor = self.last((one.tanh() + other.tanh()).flatten(1))
                return logits

        network, (inputs, labels) = Tied(spread).eval(), samples(6, IMAGE)
        assert folded(network, inputs) is None
        expected = per_sample_gradients(SharedConvolution(spread).eval(), inputs, labels)
        torch.testing.assert_close(loss_gradient(network, inputs, labels)[1], expected, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize("spread", [0.3, 1e-3, 1e-5])
    def test_a_shared_convolution_is_not_folded_wrongly(self, spread: float) -> None:
        """None, or a copy that agrees: the second path must not get the first one's batch norm.

        Also where that batch norm changes little, as after the first steps of a training.
        """
        network, (inputs, labels) = SharedConvolution(spread).eval(), samples(6, IMAGE)
        copy = folded(network, inputs)
        if copy is not None:
            expected = per_sample_gradients(network, inputs, labels)
            torch.testing.assert_close(
                loss_gradient(copy, inputs, labels)[1], expected, rtol=1e-9, atol=1e-11
            )
