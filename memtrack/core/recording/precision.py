"""The smallest step that the arithmetic allows. It has its own file because importing torch takes seconds."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "tf32", "bfloat16"]
"""The arithmetic of a network.

float32: with all bits. tf32: convolutions and matrix products round their inputs to TensorFloat-32 (11 bits)
on a GPU that has it; elsewhere the same as float32. bfloat16: autocast.
"""
SMALLEST_SCALE: dict[Precision, float] = {"float32": 1e-4, "tf32": 0.005, "bfloat16": 0.03}
"""The smallest h at each precision. At these h, on a CNN trained on CIFAR-10, the rounding of the gradients
moved the estimate by 2e-6, by 2% and by 2% (medians). At a tenth of them it moved it by 2%, by a half and by
more than half. The errors of tf32 are simulated (benchmarks/precision.py)."""
