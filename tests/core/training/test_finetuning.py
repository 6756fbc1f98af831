"""Pretrained networks: what they are given, what of them is trained and how fast, what they start from."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.models import build
from memtrack.core.training.models.blocks import blocks, head_parameters
from memtrack.core.training.models.finetuning import (
    Finetuned,
    Finetuning,
    InputAdapter,
    OtherWeights,
    finetuned,
    load_weights,
)
from memtrack.core.training.models.shape import Shape
from memtrack.core.training.optimizers import build_optimizer
from memtrack.core.training.trainer import Trainer

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = Finetuning((0.4,), (0.2,))
COLOURS = Finetuning((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def small(shape: Shape, classes: int) -> nn.Module:
    """A network of four blocks with batch norm and dropout, and its head."""
    layers: list[nn.Module] = []
    for channels in (shape[0], 4, 4, 4):
        layers += [nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def made(how: Finetuning, shape: Shape = (3, 6, 6)) -> Finetuned:
    torch.manual_seed(0)
    return finetuned(small, shape, 3, how)


def by_hand(pixels: Tensor, size: int) -> Tensor:
    """Pixels in [0, 1] as a network with ImageNet's weights wants them."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return interpolate((pixels - mean) / std, size=size, mode="bilinear", align_corners=False)


# --- inputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 8, 12, 13, 24])
@pytest.mark.parametrize("how", [GREY, COLOURS], ids=["grey", "colours"])
def test_images_become_what_the_weights_are_for(how: Finetuning, size: int) -> None:
    channels = len(how.mean)
    adapter = InputAdapter((channels, 12, 12), Finetuning(how.mean, how.std, *IMAGENET, size))
    pixels = torch.rand(2, channels, 12, 12)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (how.mean, how.std))
    images = ((pixels - mean) / std).requires_grad_()
    expected = by_hand((images * std + mean).expand(-1, 3, -1, -1), size)
    found = adapter(images)
    torch.testing.assert_close(found, expected)
    slopes = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(made, images, slopes)[0] for made in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_an_image_that_fits_is_passed_on_as_it_is() -> None:
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(InputAdapter((3, 8, 8), COLOURS)(images), images)


def test_colours_cannot_become_grey() -> None:
    how = Finetuning(COLOURS.mean, COLOURS.std, (0.5,), (0.5,))
    with pytest.raises(ValueError, match="for images of 1 channels, and these have 3"):
        how.shape((3, 8, 8))


def test_pixels_keep_their_bits_under_autocast() -> None:
    adapter = InputAdapter((3, 8, 8), Finetuning(COLOURS.mean, COLOURS.std, *IMAGENET, 16))
    images = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = adapter(images)
    assert torch.equal(found, adapter(images))


# --- head and blocks ----------------------------------------------------------------------------

HEADS = {
    "resnet18": ({"fc.weight", "fc.bias"}, 5, ["layer4"]),
    "vgg11": ({"classifier.6.weight", "classifier.6.bias"}, 10, ["classifier.3"]),
    "efficientnet_b0": ({"classifier.1.weight", "classifier.1.bias"}, 9, ["features.8"]),
    "densenet121": ({"classifier.weight", "classifier.bias"}, 8, ["features.denseblock4", "features.norm5"]),
    "squeezenet1_1": ({"classifier.1.weight", "classifier.1.bias"}, 9, ["features.12"]),
    "vit_b_16": ({"heads.head.weight", "heads.head.bias"}, 13,
                 ["encoder.layers.encoder_layer_11", "encoder.ln"]),
}  # fmt: skip
"""The head, the number of blocks and the last of them, read off torchvision's definitions."""


@pytest.mark.parametrize("name", list(HEADS))
def test_the_parts_of_torchvision_s_networks(name: str) -> None:
    make = partial(build, "torchvision", (3, 224, 224), name=name, small_stem=False)
    with torch.device("meta"):
        network = make(classes=10)
    head, count, last = HEADS[name]
    assert head_parameters(network, partial(make, classes=11)) == head
    found = blocks(network, head)
    assert (len(found), found[-1]) == (count, last)


def test_the_head_is_found_without_random_numbers_of_the_caller() -> None:
    network = small((3, 6, 6), 3)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert head_parameters(network, partial(small, (3, 6, 6), 4)) == {"18.weight", "18.bias"}
    assert torch.equal(torch.rand(2), expected)


def test_a_network_that_needs_numbers_while_it_is_built() -> None:
    def make(shape: Shape, classes: int) -> nn.Module:
        return nn.Linear(int(torch.full((), 3.0).item()), classes)

    assert head_parameters(make((1, 1, 1), 2), lambda: make((1, 1, 1), 3)) == {"weight", "bias"}


def test_a_network_without_a_head() -> None:
    with pytest.raises(ValueError, match="no layer with one output per class"):
        finetuned(lambda *_: nn.Linear(3, 2), (1, 1, 3), 2, GREY)


def test_few_blocks_are_divided_and_vectors_belong_to_what_is_before() -> None:
    whole = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 2)))
    network = nn.ModuleDict({"body": whole, "head": nn.Linear(2, 2)})
    found = blocks(network, {"head.weight", "head.bias"})
    assert found == [["body.0", "body.1"], ["body.2.0"], ["body.2.1"]]


# --- what is trained ----------------------------------------------------------------------------

FIRST_LAYER = {"all": 0, "head": 18, 1: 12, 2: 8, 3: 4, 4: 0}
"""For each choice, the place of the first layer that is trained."""


@pytest.mark.parametrize("layers", list(FIRST_LAYER))
def test_frozen_layers_stay_as_they_are_and_the_others_learn(layers: Any) -> None:
    model = made(Finetuning(COLOURS.mean, COLOURS.std, layers=layers))
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(
        model, optimizer={"kind": "sgd", "lr": 0.1, "weight_decay": 0.01}, schedule={"kind": "constant"},
        augment=Augmentation(0, False), epochs=1, steps=1, seed=0,
    )  # fmt: skip
    trainer.run_epoch(1, [(torch.randn(16, 3, 6, 6), torch.arange(16) % 3)])
    for name, values in model.state_dict().items():
        if name.startswith("network."):
            frozen = int(name.split(".")[1]) < FIRST_LAYER[layers]
            assert torch.equal(values, before[name]) == frozen, name
    modes = [module.training for module in model.network]  # type: ignore[union-attr]
    # dropout between frozen layers rests too; behind the last of them it feeds layers that learn
    rest = max(0, min(FIRST_LAYER[layers], 16) - 2)
    assert modes == [False] * rest + [True] * (len(modes) - rest)
    assert not any(module.training for module in model.eval().modules())


def test_the_backbone_learns_more_slowly() -> None:
    batch = torch.randn(8, 3, 6, 6), torch.arange(8) % 3
    model = made(Finetuning(COLOURS.mean, COLOURS.std, rate=0.25, layers=2))
    before = {name: values.detach().clone() for name, values in model.named_parameters()}
    optimizer = build_optimizer(nn.Sequential(model), "sgd", lr=0.5)  # behind another module
    torch.autograd.backward(cross_entropy(model(batch[0]), batch[1]))
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.125]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            step = 0.5 if name.startswith("network.18") else 0.125
            torch.testing.assert_close(before[name] - parameter, step * parameter.grad)
        else:
            assert parameter.grad is None


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(ValueError, match="has 4 blocks before its head, not 5"):
        made(Finetuning(COLOURS.mean, COLOURS.std, layers=5))


def test_parameters_of_no_block_count_to_the_first() -> None:
    class Positions(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.zeros(2, 2))
            self.a, self.b, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, classes)

    for layers, learns in (("all", True), (2, True), (1, False), ("head", False)):
        how = Finetuning((0.5,), (0.5,), layers=layers)  # type: ignore[arg-type]
        model = finetuned(lambda _, classes: Positions(classes), (1, 2, 2), 3, how)
        assert ("network.positions" in model.rates()) == learns


# --- weights ------------------------------------------------------------------------------------


def state(classes: int = 7) -> dict[str, Tensor]:
    """Of a network that was trained elsewhere, for other classes."""
    torch.manual_seed(5)
    return {
        name: torch.randn_like(values.float())
        for name, values in small((3, 6, 6), classes).state_dict().items()
    }


@pytest.mark.parametrize("classes", [7, 3])
@pytest.mark.parametrize("prefix", ["", "module.", "model.network."])
def test_everything_but_the_head_is_loaded(prefix: str, classes: int) -> None:
    given = state(classes)
    plain = made(COLOURS).network.state_dict()
    prefixed = {f"{prefix}{name}": values.numpy() for name, values in given.items()}
    model = made(Finetuning(COLOURS.mean, COLOURS.std, state=prefixed))
    for name, values in model.network.state_dict().items():
        expected = plain if name.startswith("18.") else given
        assert torch.equal(values, expected[name].to(values.dtype)), name


def test_early_versions_of_torch_counted_no_batches() -> None:
    given = {name: values for name, values in state().items() if "num_batches" not in name}
    network = small((3, 6, 6), 3)
    load_weights(network, given, {"18.weight", "18.bias"})
    assert torch.equal(network.state_dict()["4.weight"], given["4.weight"])


def test_weights_of_another_network_are_refused_and_nothing_is_loaded() -> None:
    given = state()
    del given["4.weight"], given["5.running_mean"]
    given |= {"extra.weight": torch.zeros(1), "8.weight": torch.zeros(2, 2)}
    network = small((3, 6, 6), 3)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(OtherWeights) as caught:
        load_weights(network, given, {"18.weight", "18.bias"})
    assert str(caught.value) == (
        "missing: 4.weight, 5.running_mean; unexpected: extra.weight; "
        "of other shape: 8.weight (2, 2) instead of (4, 4, 3, 3)"
    )
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_long_lists_are_cut() -> None:
    with pytest.raises(OtherWeights, match=r"unexpected: w0, .*, w11 and 8 more"):
        load_weights(nn.Linear(2, 2), {f"w{number}": torch.zeros(1) for number in range(20)}, set())
