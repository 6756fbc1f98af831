"""Networks that start from given weights: how they are built, and what of them is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from memtrack.core.training.models.blocks import blocks, head_parameters
from memtrack.core.training.models.shape import Shape
from memtrack.core.training.optimizers import RatedModule


@dataclass(frozen=True)
class Finetuning:
    """What a network starts from, the inputs that it is for, and what of it is trained.

    Attributes:
        mean, std: what the inputs were normalized with: mean and standard deviation of each channel of the
            images, pixels in [0, 1].
        own_mean, own_std: those that the network is for; None: the same.
        size: the width and height that the network is for; None: those of the images.
        layers: all of them, the head alone, or the head and so many of the last `blocks`.
        rate: factor of the learning rate for all layers but the head.
        state: weights by name, tensors or arrays; None: as they are built. Those of the head are not used.
    """

    mean: Sequence[float]
    std: Sequence[float]
    own_mean: Sequence[float] | None = None
    own_std: Sequence[float] | None = None
    size: int | None = None
    layers: Literal["all", "head"] | int = "all"
    rate: float = 1.0
    state: Mapping[str, Any] | None = None

    def shape(self, images: Shape) -> Shape:
        """The shape of what the network itself gets.

        Raises:
            ValueError: if the images have more channels than it takes.
        """
        channels = images[0] if self.own_mean is None else len(self.own_mean)
        if images[0] not in (1, channels):
            raise ValueError(f"the weights are for images of {channels} channels, and these have {images[0]}")
        return (channels, *images[1:]) if self.size is None else (channels, self.size, self.size)


class OtherWeights(ValueError):
    """Weights that do not belong to a network; the text lists what is missing, unexpected or of other
    shape."""


class InputAdapter(nn.Module):
    """Turns normalized images into the inputs that a network is for: other mean and standard deviation, three
    equal channels instead of one, another size (bilinear).

    It is an affine function, so derivatives in the images are exact and of the same order. Resizing is two
    products with matrices: unlike `interpolate`, it has a fast backward pass on a GPU that is deterministic.
    """

    factor: Tensor
    offset: Tensor
    rows: Tensor | None
    columns: Tensor | None

    def __init__(self, shape: Shape, how: Finetuning) -> None:
        super().__init__()
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (how.mean, how.std))
        own_mean = mean if how.own_mean is None else torch.tensor(how.own_mean, dtype=torch.float64)
        own_std = std if how.own_std is None else torch.tensor(how.own_std, dtype=torch.float64)
        self.register_buffer("factor", (std / own_std).float().view(-1, 1, 1))
        self.register_buffer("offset", ((mean - own_mean) / own_std).float().view(-1, 1, 1))
        same = how.size is None or shape[1:] == (how.size, how.size)
        for name, length in (("rows", shape[1]), ("columns", shape[2])):
            matrix = None if same else _resizing(length, how.size or length)
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The inputs (B, own channels, size, size) of images (B, channels, height, width)."""
        inputs = images * self.factor + self.offset
        if self.rows is None or self.columns is None:
            return inputs
        with torch.autocast(self.rows.device.type, enabled=False):  # pixels keep their bits
            return self.rows @ inputs @ self.columns.T


def _resizing(length: int, size: int) -> Tensor:
    """The matrix (size, length) that resizes one side linearly."""
    return interpolate(torch.eye(length)[None], size=size, mode="linear", align_corners=False)[
        0
    ].T.contiguous()


class Finetuned(RatedModule):
    """A network behind an `InputAdapter`, of which some layers may be frozen.

    Frozen layers stay in eval mode while the others are trained: their batch norms keep their statistics,
    and they have no dropout.

    Attributes:
        trained: the names of the modules that are trained, without the head; None: all.
    """

    def __init__(self, network: nn.Module, head: set[str], shape: Shape, how: Finetuning) -> None:
        super().__init__()
        self.inputs = InputAdapter(shape, how)
        self.network = network
        self._head, self._rate = frozenset(head), how.rate
        self.trained: tuple[str, ...] | None = None
        self._frozen: tuple[str, ...] = ()
        if how.layers != "all":
            self._freeze(0 if how.layers == "head" else how.layers)

    def _freeze(self, count: int) -> None:
        """Freeze all but the head and the last `count` blocks."""
        found = blocks(self.network, set(self._head))
        if count > len(found):
            raise ValueError(f"the network has {len(found)} blocks before its head, not {count}")
        last = len(found) - count
        self.trained = tuple(name for block in found[last:] for name in block)
        frozen = [name for block in found[:last] for name in block]
        self._frozen = (*frozen, *_between(self.network, frozen))
        kept = tuple(f"{name}." for name in self.trained)
        everywhere = count == len(found)  # the first block has the parameters of no block
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(everywhere or name in self._head or name.startswith(kept))

    def load(self, state: Mapping[str, Any]) -> None:
        """Load the weights that the network starts from; see `load_weights`."""
        load_weights(self.network, state, self._head)

    def train(self, mode: bool = True) -> Finetuned:
        """Switch to training mode, except for frozen layers, or to eval mode."""
        super().train(mode)
        for name in self._frozen:
            self.network.get_submodule(name).eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The logits (B, classes) of normalized images (B, channels, height, width)."""
        logits: Tensor = self.network(self.inputs(images))
        return logits

    def rates(self) -> dict[str, float]:
        """See `RatedModule`."""
        return {
            f"network.{name}": 1.0 if name in self._head else self._rate
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }


def _between(network: nn.Module, frozen: Sequence[str]) -> list[str]:
    """The modules without parameters, such as dropout, that run before a frozen one in an `nn.Sequential`."""
    found = []
    for parent in {name.rpartition(".")[0] for name in frozen}:
        module = network.get_submodule(parent)
        if isinstance(module, nn.Sequential):
            names = [f"{parent}.{name}" if parent else name for name, _ in module.named_children()]
            last = max(place for place, name in enumerate(names) if name in frozen)
            found += [
                name
                for name in names[:last]
                if not any(True for _ in network.get_submodule(name).parameters())
            ]
    return found


def finetuned(
    make: Callable[[Shape, int], nn.Module], shape: Shape, classes: int, how: Finetuning
) -> Finetuned:
    """Build a network and load the weights that it starts from.

    Args:
        make: builds the network for a shape and a number of classes.
        shape: the shape of the images.

    Raises:
        OtherWeights: if the weights are those of another network.
        ValueError: if it cannot be built, or has fewer blocks than are to be trained.
    """
    inner = how.shape(shape)
    network = make(inner, classes)
    head = head_parameters(network, lambda: make(inner, classes + 1))
    result = Finetuned(network, head, shape, how)
    if how.state is not None:
        result.load(how.state)
    return result


def load_weights(network: nn.Module, state: Mapping[str, Any], head: Collection[str]) -> None:
    """Load all weights but those of the head.

    If no name fits because all of them begin with the same words (`module.`), these are left out. Batch norms
    may lack `num_batches_tracked`, as in files of early versions of torch.

    Raises:
        OtherWeights: unless every other weight is there in the right shape, and nothing else.
    """
    own = network.state_dict()
    while not own.keys() & state.keys() and len({name.partition(".")[0] for name in state}) == 1:
        state = {name.partition(".")[2]: values for name, values in state.items()}
    state = {name: torch.as_tensor(values) for name, values in state.items()}
    wanted = {name: tensor.shape for name, tensor in own.items() if name not in head}
    found = {name: tensor.shape for name, tensor in state.items() if name not in head}
    missing = [name for name in wanted if name not in found and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in found if name not in wanted]
    shapes = [
        f"{name} {tuple(found[name])} instead of {tuple(wanted[name])}"
        for name in wanted.keys() & found.keys()
        if found[name] != wanted[name]
    ]
    parts = {"missing": missing, "unexpected": unexpected, "of other shape": sorted(shapes)}
    if any(parts.values()):
        raise OtherWeights("; ".join(f"{what}: {_listed(names)}" for what, names in parts.items() if names))
    network.load_state_dict({**own, **{name: state[name] for name in found}})


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
