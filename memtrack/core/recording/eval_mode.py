"""How a network is measured: in eval mode, frozen, in full precision, and put back as it was found."""

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
_SHORTENED: tuple[Any, ...] = (
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn,
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.rnn,  # type: ignore[attr-defined]
)
"""What torch may compute in fewer bits than float32 has."""
WHOLE = ("none", "ieee")
"""The settings of these at which it does not."""


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode with frozen parameters; everything is put back, also after an error.

    Within it float32 is float32: TensorFloat-32, which torch allows by default in convolutions on a
    GPU, keeps 11 bits of 24, and a finite difference has none to lose.

    Raises:
        ValueError: if a batch norm has no running statistics. It would mix the samples of a batch, and
            the curvature of one sample would depend on its neighbours.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"the batch norm {name!r} has no running statistics, so samples of a batch change each "
                "other's loss: make it with track_running_stats=True, or use group norm"
            )
    modes = {module: module.training for module in model.modules()}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    shortened = [backend.fp32_precision for backend in _SHORTENED]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for backend, precision in zip(_SHORTENED, shortened, strict=True):
            if precision not in WHOLE:
                backend.fp32_precision = "ieee"
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for backend, precision in zip(_SHORTENED, shortened, strict=True):
            if precision not in WHOLE:
                backend.fp32_precision = precision


@contextmanager
def differentiating(inputs: Tensor) -> Iterator[None]:
    """Gradients are recorded and no autocast is on, whatever is set around; for this thread."""
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        yield


def summed_loss(
    network: Network, inputs: Tensor, labels: Tensor, precision: Precision = "float32"
) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs as a leaf of the graph, the logits (B, classes), and the sum of the losses, a scalar.

    The losses are summed, not averaged: in eval mode the samples do not touch each other, so the
    gradient of the sum holds each sample's own gradient, whatever the size of the batch. bfloat16 is
    autocast of the forward pass. To be called while `differentiating`.
    """
    inputs = inputs.detach().requires_grad_(True)
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(inputs)
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    _check_logits(logits, labels)
    return inputs, logits, cross_entropy(logits, labels, reduction="sum")


def check_labels(inputs: Tensor, labels: Tensor) -> None:
    """`ValueError` unless `labels` are int64 (B,) and `inputs` floating point (B, ...)."""
    if not inputs.is_floating_point():
        raise ValueError(f"inputs are {inputs.dtype}: they should be normalized floating point")
    if labels.dtype != torch.int64 or labels.shape != inputs.shape[:1]:
        shape = tuple(labels.shape)
        raise ValueError(f"labels are {labels.dtype} {shape}: they should be int64 ({len(inputs)},)")


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    if logits.dim() != 2 or len(logits) != len(labels) or logits.shape[1] < 2:
        shape = tuple(logits.shape)
        raise ValueError(f"the model gives {shape}: it should give logits ({len(labels)}, classes >= 2)")
    if not len(labels):
        return
    low, high, classes = int(labels.min()), int(labels.max()), logits.shape[1]
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
    """A copy of `model` that gives the same logits faster, or None where there is none.

    Batch norms are folded into the convolutions and linear layers before them, which is exact in eval
    mode, and images lie channels-last in memory. None for a model that torch.fx cannot trace (one with
    control flow that depends on the data), for one that uses a layer with weights twice (folding would
    change both), and for one whose copy does not agree on `example`.

    Args:
        model: in eval mode.
        example: inputs (B, ...); the first eight are tried.

    Source: Jacob et al., CVPR 2018, section 3.2 (folding); torch.fx.experimental.optimization.
    """
    try:
        traced = symbolic_trace(copy.deepcopy(model))  # tracing runs the model's code
        called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
        weighted = [name for name in called if any(True for _ in traced.get_submodule(name).parameters())]
        if len(set(weighted)) < len(weighted):
            return None
        network = fuse(traced, no_trace=True).eval().requires_grad_(False)
        if example.dim() == 4:
            network = network.to(memory_format=torch.channels_last)
        with torch.no_grad():
            expected, found = model(example[:8]), network(example[:8])
        agrees = (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        return network if agrees else None
    except Exception:  # tracing and copying run the model's own code, which may raise anything
        return None
