"""The networks. Shapes are worked out on torch's meta device, which computes no numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn

from memtrack.core.training.models import build
from memtrack.core.training.models.shape import Shape
from memtrack.core.training.models.torchvision import classifier_names

SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"width": 4, "depth": 2, "dropout": 0.1},
    "mlp": {"width": 8, "depth": 2, "dropout": 0.1},
    "torchvision": {"name": "resnet18", "small_stem": True},
}


def shapes(model: nn.Module, image: Shape, kind: type[nn.Module]) -> list[Size]:
    """The output shapes of the modules of a kind, in the order of their calls."""
    found: list[Size] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(output.shape)

    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(note)
    model.eval()(torch.zeros(2, *image, device=next(model.parameters()).device))
    return found


class TestOutput:
    @pytest.mark.parametrize("kind", ["cnn", "mlp"])
    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 7), (1, 1, 1)])
    @pytest.mark.parametrize("depth", [1, 3])
    def test_one_logit_per_class(self, kind: str, shape: Shape, depth: int) -> None:
        model = build(kind, shape, 4, width=6, depth=depth, dropout=0.2).eval()
        logits = model(torch.randn(5, *shape))
        assert logits.shape == (5, 4)
        assert torch.isfinite(logits).all()

    @pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2", "densenet121"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("small_stem", [True, False])
    def test_torchvision(self, name: str, channels: int, small_stem: bool) -> None:
        shape = (channels, 32, 32)
        with torch.device("meta"):
            model = build("torchvision", shape, 7, name=name, small_stem=small_stem)
        assert model.eval()(torch.zeros(2, *shape, device="meta")).shape == (2, 7)

    def test_without_auxiliary_outputs(self) -> None:
        with torch.device("meta"):
            model = build("torchvision", (3, 64, 64), 7, name="googlenet", small_stem=False)
            output = model.train()(torch.zeros(2, 3, 64, 64))
        assert isinstance(output, Tensor)
        assert output.shape == (2, 7)


class TestCnn:
    @pytest.mark.parametrize(("size", "sizes"), [(28, [28, 14, 7, 3, 3]), (8, [8, 4, 2, 2]), (1, [1, 1])])
    def test_blocks_double_the_channels_and_halve_the_image(self, size: int, sizes: list[int]) -> None:
        """The image is halved between blocks while it is larger than 3 pixels."""
        image = (1, size, size)
        model = build("cnn", image, 10, width=4, depth=len(sizes), dropout=0.0)
        channels = [4 * 2**block for block in range(len(sizes))]
        blocks = [(2, *each) for each in zip(channels, sizes, sizes, strict=True)]
        assert shapes(model, image, nn.Conv2d) == [each for each in blocks for _ in range(2)]

    def test_the_stated_layers_are_there(self) -> None:
        model = build("cnn", (3, 8, 8), 10, width=4, depth=3, dropout=0.25)
        kinds = [type(module) for module in model]
        assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == kinds.count(nn.ReLU) == 6
        assert kinds[-2:] == [nn.Dropout, nn.Linear]
        assert model[-2].p == 0.25


class TestMlp:
    def test_hidden_layers(self) -> None:
        model = build("mlp", (3, 4, 5), 10, width=7, depth=3, dropout=0.25)
        assert shapes(model, (3, 4, 5), nn.ReLU) == [(2, 7)] * 3
        assert shapes(model, (3, 4, 5), nn.Linear) == [(2, 7)] * 3 + [(2, 10)]
        assert [module.p for module in model if isinstance(module, nn.Dropout)] == [0.25]


class TestStem:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_small_stem_keeps_the_resolution(self, channels: int) -> None:
        image = (channels, 32, 32)
        with torch.device("meta"):
            model = build("torchvision", image, 7, name="resnet18", small_stem=True)
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        assert (first.in_channels, first.out_channels) == (channels, 64)
        assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))
        assert first.bias is None
        assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())
        assert shapes(model, image, nn.Conv2d)[:2] == [(2, 64, 32, 32)] * 2

    @pytest.mark.parametrize("channels", [1, 3])
    def test_otherwise_torchvision_s_own_is_kept(self, channels: int) -> None:
        image = (channels, 64, 64)
        with torch.device("meta"):
            model = build("torchvision", image, 7, name="resnet18", small_stem=False)
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == channels
        assert (first.kernel_size, first.stride, first.padding) == ((7, 7), (2, 2), (3, 3))
        assert shapes(model, image, nn.Conv2d)[:2] == [(2, 64, 32, 32), (2, 64, 16, 16)]

    def test_patches_are_kept(self) -> None:
        with torch.device("meta"):
            model = build("torchvision", (1, 32, 32), 7, name="swin_t", small_stem=True)
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        assert first.in_channels == 1
        assert first.kernel_size == first.stride == (4, 4)


class TestBuild:
    @pytest.mark.parametrize("name", ["resnet19", "", "fcn_resnet50", "ResNet18"])
    def test_unknown_name(self, name: str) -> None:
        with pytest.raises(ValueError, match="no classifier"):
            build("torchvision", (3, 32, 32), 7, name=name, small_stem=True)

    def test_only_image_classifiers_are_listed(self) -> None:
        names = classifier_names()
        assert {"resnet18", "vgg11", "mobilenet_v2", "densenet121", "vit_b_16"} <= set(names)
        assert not {"fcn_resnet50", "fasterrcnn_resnet50_fpn", "r3d_18"} & set(names)

    @pytest.mark.parametrize("kind", list(SMALL))
    def test_weights_are_fixed_by_the_seed(self, kind: str) -> None:
        states = []
        with torch.random.fork_rng():
            for seed in (0, 0, 1):
                torch.manual_seed(seed)
                states.append(build(kind, (1, 8, 8), 3, **SMALL[kind]).state_dict())
        one, again, other = states
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
