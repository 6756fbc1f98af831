"""A part of a batch, treated as in the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Exchange = Callable[[Tensor], Tensor]

_OF_SAMPLES = {
    functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d,
    functional.alpha_dropout, functional.feature_alpha_dropout,
    torch.bernoulli, torch.rand_like, torch.randn_like,
}  # fmt: skip
"""Random functions of one number or row for each sample."""
_IN_PLACE = {torch.Tensor.bernoulli_, torch.Tensor.uniform_, torch.Tensor.normal_}
"""Random functions that fill a tensor."""
_OF_SIZE = {torch.rand, torch.randn, torch.randint}
"""Random functions of a size."""


class WholeBatch(TorchFunctionMode):
    """Inside it, a network in training mode treats some samples of a batch as it would in the batch.

    Two things in a network look beyond the single sample. Batch norm takes mean and variance from the whole
    batch, which several processes hold. And random numbers, of dropout for example, are drawn for the whole
    batch: if what is drawn has one row for each sample, it is drawn for all of them, and this process takes
    its rows. So all processes must have the same state of the random number generators. Dropout within
    `scaled_dot_product_attention` and `MultiheadAttention` is not covered: each process draws its own.

    Args:
        rows: which samples of the batch these are. count: the number of samples in the batch.
        stacked, total: give the tensors of all processes, (processes, ...), and their sum.
    """

    def __init__(self, rows: slice, count: int, *, stacked: Exchange, total: Exchange) -> None:
        super().__init__()
        self._rows, self._count = rows, count
        self._stacked, self._total = stacked, total

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what takes its place."""
        kwargs = dict(kwargs or {})
        if func is functional.batch_norm and kwargs["training"]:
            return batch_norm(*args, **kwargs, stacked=self._stacked, total=self._total)
        if func in _OF_SAMPLES and self._is_ours(args[0].shape) and kwargs.get("training", True):
            before, after = self._rows.start, self._count - self._rows.stop
            batch = functional.pad(args[0], [0, 0] * (args[0].ndim - 1) + [before, after])
            return func(batch, *args[1:], **kwargs)[self._rows]
        if func in _IN_PLACE and self._is_ours(args[0].shape):
            batch = args[0].new_empty((self._count, *args[0].shape[1:]))
            return args[0].copy_(func(batch, *args[1:], **kwargs)[self._rows])
        if func in _OF_SIZE:
            before, size = _split(func, args, kwargs)
            if self._is_ours(size):
                return func(*before, (self._count, *size[1:]), **kwargs)[self._rows]
        return func(*args, **kwargs)

    def _is_ours(self, shape: tuple[int, ...]) -> bool:
        """Whether there is a row for each of our samples."""
        return len(shape) > 0 and shape[0] == self._rows.stop - self._rows.start


def _split(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The arguments before the size, and the size, which is taken out of `kwargs`."""
    if "size" in kwargs:
        return args, tuple(kwargs.pop("size"))
    if func is torch.randint or isinstance(args[0], tuple | list):
        return args[:-1], tuple(args[-1])
    return (), args


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    stacked: Exchange,
    total: Exchange,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training, with mean and variance over the inputs of all processes.

    Its gradients of weight and bias are those of this process's samples, to be added to those of the others.
    torch's SyncBatchNorm does the same on a GPU alone, and waits for it in every layer.
    """
    result, mean, unbiased = _BatchNorm.apply(input, weight, bias, eps, stacked, total)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return result


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        stacked: Exchange,
        total: Exchange,
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(input.dtype, torch.float32)
        # a GPU adds numbers of 16 bits in 32 bits by itself
        mean, variance = torch.batch_norm_update_stats(
            input if input.is_cuda else input.to(exact), None, None, 0.0
        )
        own = torch.full_like(mean, input.numel() // input.shape[1])
        means, variances, counts = stacked(torch.stack([mean, variance, own]).double()).unbind(1)
        count = counts.sum(0)
        center = (counts * means).sum(0) / count
        spread = (counts * (variances + (means - center) ** 2)).sum(0) / count
        mean, variance, count = center.to(exact), spread.to(exact), count.to(exact)
        scale = torch.ones_like(mean) if weight is None else weight
        ctx.save_for_backward(input, scale, mean, variance, count)
        ctx.eps, ctx.total, ctx.has_weights = eps, total, (weight is not None, bias is not None)
        result = functional.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)
        unbiased = variance * count / (count - 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return result, mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, scale, mean, variance, count = ctx.saved_tensors
        # as if mean and variance were constants
        direct, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
            gradients[0], input, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        whole_scale, whole_shift = ctx.total(torch.stack([of_scale, of_shift])).unbind()
        factor = scale * torch.rsqrt(variance + ctx.eps) / count
        slope = -factor * whole_scale * torch.rsqrt(variance + ctx.eps)
        offset = -factor * whole_shift - slope * mean
        shape = [1, -1, *[1] * (input.ndim - 2)]
        direct.addcmul_(input, slope.view(shape)).add_(offset.view(shape))
        weighted, shifted = ctx.has_weights
        return direct, of_scale if weighted else None, of_shift if shifted else None, None, None, None
