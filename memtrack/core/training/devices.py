"""The device that a network is trained on."""

from __future__ import annotations

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
