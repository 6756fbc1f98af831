"""The device that a network is trained on."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; a named device that is not there is a ValueError."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in available.items() if there), "cpu"))
    if not available.get(name, True):
        raise ValueError(f"this machine has no {name} device; 'auto' takes what there is")
    return torch.device(name)
