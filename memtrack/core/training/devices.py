"""The device that a network is trained on."""

from __future__ import annotations

import os

import torch


def pick_device(name: str) -> torch.device:
    """The named device; `auto` is the GPU if there is one. `ValueError` if the machine has no such device."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, present in available.items() if present), "cpu"))
    if not available.get(name, True):
        raise ValueError(f"this machine has no {name} device; 'auto' uses a GPU if there is one")
    return torch.device(name)


def free_on_gpu(device: torch.device) -> int:
    """The bytes of a CUDA device that are free, with those that torch has reserved and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def compute_deterministically(on: bool = True) -> None:
    """Make torch give the same numbers for the same seed, or let it choose the fastest way, in this process.

    Operations without a deterministic version warn. The compiler is not told; see `compile_likewise`."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    torch.set_deterministic_debug_mode("warn" if on else "default")
    # this debugging aid takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not on


def compile_likewise() -> None:
    """Make torch.compile as deterministic as operations are. It takes seconds to load the compiler."""
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled(), warn_only=True)
