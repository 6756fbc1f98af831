"""Measuring a network in eval mode, frozen and in a given precision. Its state is restored afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from memtrack.core.recording.precision import Precision

Network = Callable[[Tensor], Tensor]
_GPU: tuple[Any, ...] = (
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn,
    torch.backends.cuda.matmul,
)
_CPU: tuple[Any, ...] = (
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.rnn,  # type: ignore[attr-defined]
)
"""The parts of torch that may compute with fewer bits than float32 has."""
FULL_PRECISION = ("none", "ieee")
"""The settings at which they do not."""


@contextmanager
def frozen_eval(model: nn.Module, precision: Precision = "float32") -> Iterator[None]:
    """Set `model` to eval mode with frozen parameters. Everything is restored, also after an error.

    Within it, float32 keeps all its bits, unless `precision` is tf32. TensorFloat-32, which torch allows by
    default in convolutions on a GPU, keeps 11 of 24 bits, which a finite difference can afford only at a
    large step. (bfloat16 is a matter of `summed_loss`.)

    Raises:
        ValueError: if a batch norm has no running statistics. It would mix the samples of a batch, and
            the curvature of one sample would depend on the others.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"the batch norm {name!r} has no running statistics, so samples of a batch change each "
                "other's loss: create it with track_running_stats=True, or use group norm"
            )
    modes = {module: module.training for module in model.modules()}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    found = [(backend, backend.fp32_precision) for backend in (*_GPU, *_CPU)]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for backend, before in found:
            if precision == "tf32" and backend in _GPU:
                backend.fp32_precision = "tf32"
            elif before not in FULL_PRECISION:
                backend.fp32_precision = "ieee"
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for backend, before in found:
            if backend.fp32_precision != before:
                backend.fp32_precision = before


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Store the kernels of `model` channels-last, as the fast convolutions of a GPU want them.

    Convolutions keep the layout of their inputs. The kernels are put back afterwards.
    """
    kept = [(parameter, parameter.data) for parameter in model.parameters() if parameter.dim() == 4]
    try:
        for parameter, data in kept:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextmanager
def differentiating(inputs: Tensor) -> Iterator[None]:
    """Record gradients and switch autocast off, whatever the caller has set. It affects this thread only."""
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        yield


def summed_loss(
    network: Network, inputs: Tensor, labels: Tensor, precision: Precision = "float32"
) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs as a leaf of the graph, the logits (B, classes), and the sum of the losses, a scalar.

    The losses are summed, not averaged. In eval mode the samples do not affect each other, so the gradient
    of the sum holds each sample's own gradient, whatever the size of the batch. bfloat16 means autocast of
    the forward pass. Call this within `differentiating`.

    Nothing here waits for a GPU. So a label that no logit belongs to is not an error but is taken for the
    nearest class: the caller asks `check_classes`, once.

    Raises:
        ValueError: if the model does not give logits.
    """
    inputs = inputs.detach().requires_grad_(True)
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(inputs)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if logits.dim() != 2 or len(logits) != len(labels) or logits.shape[1] < 2:
        shape = tuple(logits.shape)
        raise ValueError(f"the model gives {shape}: it should give logits ({len(labels)}, classes >= 2)")
    return inputs, logits, cross_entropy(logits, existing(labels, logits.shape[1]), reduction="sum")


def existing(labels: Tensor, classes: int) -> Tensor:
    """The labels, each replaced by the nearest class if it is none."""
    return labels.clamp(0, classes - 1)


def check_labels(inputs: Tensor, labels: Tensor) -> None:
    """Raise `ValueError` unless `labels` are int64 (B,) and `inputs` are floating point (B, ...)."""
    if not inputs.is_floating_point():
        raise ValueError(f"inputs are {inputs.dtype}: they should be normalized floating point")
    if labels.dtype != torch.int64 or labels.shape != inputs.shape[:1]:
        shape = tuple(labels.shape)
        raise ValueError(f"labels are {labels.dtype} {shape}: they should be int64 ({len(inputs)},)")


def check_classes(labels: Tensor, classes: int) -> None:
    """Raise `ValueError` unless every label is a class. This waits for the device of the labels."""
    if not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < classes:
        raise ValueError(
            f"labels are {low} to {high}: with {classes} logits they should be 0 to {classes - 1}"
        )


def loss_gradient(
    network: Network, inputs: Tensor, labels: Tensor, precision: Precision = "float32"
) -> tuple[Tensor, Tensor]:
    """The logits and the gradient of each sample's cross-entropy loss with respect to its input.

    Returns:
        logits (B, classes), without a graph, and gradients of the shape of `inputs`.
    """
    with differentiating(inputs):
        leaf, logits, loss = summed_loss(network, inputs, labels, precision)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return logits.detach(), gradient


def folded(model: nn.Module, example: Tensor) -> nn.Module | None:
    """A copy of `model` that computes the same logits faster, or None if there is no such copy.

    Batch norms are folded into the convolutions and linear layers before them, which is exact in eval
    mode, and images are stored channels-last in memory. There is no copy of a model that torch.fx cannot
    trace (its control flow depends on the data), that uses the weights of a layer twice (folding would
    change both uses), or whose copy gives other logits on `example`.

    Args:
        model: a network in eval mode.
        example: inputs (B, ...); the first eight are compared.

    Source: Jacob et al., CVPR 2018, section 3.2 (folding); torch.fx.experimental.optimization.
    """
    try:
        traced = symbolic_trace(copy.deepcopy(model))  # tracing runs the model's code
        called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
        weighted = [name for name in called if any(True for _ in traced.get_submodule(name).parameters())]
        read = [str(node.target).rpartition(".")[0] for node in traced.graph.nodes if node.op == "get_attr"]
        if len(set(weighted)) < len(weighted) or set(weighted) & set(read):
            return None
        network = fuse(traced, inplace=True, no_trace=True).eval().requires_grad_(False)
        if example.dim() == 4:
            network = network.to(memory_format=torch.channels_last)
        with torch.no_grad():
            expected, found = model(example[:8]), network(example[:8])
        agrees = (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        return network if agrees else None
    except Exception:  # tracing and copying run the model's own code, which may raise anything
        return None
