"""The precision of a network's arithmetic while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

TrainingPrecision = Literal["float32", "tf32", "bfloat16"]
_TF32: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn,
)
"""The parts of torch that may use TensorFloat-32."""


def fastest_precision(device: torch.device) -> TrainingPrecision:
    """bfloat16 on a GPU that computes with it (compute capability 8.0 and above), float32 elsewhere."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return "bfloat16"
    return "float32"


@contextmanager
def training_precision(precision: TrainingPrecision, device: torch.device) -> Iterator[None]:
    """Compute with this precision; what was set before is restored.

    float32: all 24 bits of the mantissa. tf32: TensorFloat-32 in convolutions and matrix products on a GPU,
    which keeps 11 bits. bfloat16: torch's autocast, which computes convolutions and matrix products with 8
    bits and keeps weights, gradients and sums in float32 (Micikevicius et al., ICLR 2018).
    """
    before = [backend.fp32_precision for backend in _TF32]
    try:
        for backend in _TF32:
            backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        half = precision == "bfloat16"
        # autocast would keep the bfloat16 copy of each weight until its end, whatever the steps change
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            yield
    finally:
        for backend, value in zip(_TF32, before, strict=True):
            backend.fp32_precision = value
