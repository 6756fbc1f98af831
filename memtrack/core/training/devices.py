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

    Operations without a deterministic version warn."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    torch.use_deterministic_algorithms(on, warn_only=True)
    # this debugging aid takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not on
