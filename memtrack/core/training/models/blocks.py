"""The parts of a network: its head, and the blocks before it, whatever the architecture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

FEWEST = 4
"""Networks of fewer blocks than this are divided further."""


def head_parameters(network: nn.Module, another: Callable[[], nn.Module]) -> set[str]:
    """The names of the parameters whose shape depends on the number of classes.

    Args:
        another: makes the same network for another number of classes. If possible, it is made on the device
            `meta`, where it takes no memory. No random number of the caller's is used.

    Raises:
        ValueError: if there are none.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                other = another()
        except Exception:  # building runs the network's own code, which may need numbers
            other = another()
    shapes = {name: parameter.shape for name, parameter in other.named_parameters()}
    head = {name for name, parameter in network.named_parameters() if shapes.get(name) != parameter.shape}
    if not head:
        raise ValueError("the network has no layer with one output per class")
    return head


def blocks(network: nn.Module, head: set[str]) -> list[list[str]]:
    """The blocks of a network before its head, in order, each as the names of its modules.

    A block is a child of the network. A child that holds vectors alone (batch norm, layer norm) belongs to
    the block before it. While there are fewer than four blocks, the largest that has children is replaced by
    them. Parameters of no module in a block, such as position embeddings, count to the first block.

    Args:
        head: the names of the head's parameters; see `head_parameters`.
    """
    names = _children(network, "", head)
    found = _grouped(network, names)
    while len(found) < FEWEST:
        inner = {name: _children(network, name, head) for name in names}
        divisible = [name for name in names if inner[name]]
        if not divisible:
            break
        largest = max(divisible, key=lambda name: _size(network.get_submodule(name)))
        place = names.index(largest)
        names[place : place + 1] = inner[largest]
        found = _grouped(network, names)
    return found


def _children(network: nn.Module, path: str, head: set[str]) -> list[str]:
    """The children of a module that have parameters. One that holds the head is replaced by its children."""
    found = []
    for name, child in network.get_submodule(path).named_children():
        full = f"{path}.{name}" if path else name
        own = {f"{full}.{inner}" for inner, _ in child.named_parameters()}
        if own & head:
            found += _children(network, full, head)
        elif own:
            found.append(full)
    return found


def _grouped(network: nn.Module, names: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    for name in names:
        vectors = all(parameter.dim() < 2 for parameter in network.get_submodule(name).parameters())
        if vectors and groups:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
