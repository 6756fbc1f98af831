"""timm's classifiers by name, and the weights that it offers for them. timm is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from memtrack.core.training.models.offered import OfferedWeights
from memtrack.core.training.models.shape import Shape

FILES = (".safetensors", ".pth", ".bin", ".npz")
"""What the name of a file of timm's weights ends with."""


def timm_model(shape: Shape, classes: int, *, name: str, options: Mapping[str, Any]) -> nn.Module:
    """A classifier of timm by name, NAME or NAME.TAG, with random weights.

    Args:
        options: more arguments for `timm.create_model`.

    Raises:
        ImportError: if timm is not installed.
        ValueError: for options that the network does not take.
    """
    import timm  # takes seconds, and the other networks do not need it

    try:
        model: nn.Module = timm.create_model(name, num_classes=classes, in_chans=shape[0], **options)
    except TypeError as error:  # an option that it does not have
        raise ValueError(str(error)) from None
    return model


def timm_names() -> list[str]:
    """The names of timm's networks."""
    import timm

    names: list[str] = timm.list_models()
    return names


def offered_by_timm(name: str) -> dict[str, OfferedWeights]:
    """The weights that timm offers for a network, by tag; DEFAULT are those that it uses without one.

    Args:
        name: NAME, or NAME.TAG, whose tag is then the default.
    """
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

    architecture, _, tag = name.partition(".")
    found = {
        full.partition(".")[2]: _offered(full, config)
        for full, config in get_arch_pretrained_cfgs(architecture).items()
        if config.has_weights
    }
    default = tag or getattr(get_pretrained_cfg(architecture), "tag", "")
    return {**found, "DEFAULT": found[default]} if default in found else found


def _offered(name: str, config: Any) -> OfferedWeights:
    where = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)
    return OfferedWeights(name, where, tuple(config.mean), tuple(config.std), int(config.input_size[-1]))


def timm_weights(
    offered: OfferedWeights, folder: Path | None, options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Weights that timm offers, as the network with these options has them.

    Args:
        folder: where the file NAME.TAG.safetensors (or .pth, .bin, .npz) is; if it is not there, timm
            downloads it to its own cache, which is in this folder. None: timm's usual cache.

    Raises:
        OSError, RuntimeError and others: if it can be neither found nor downloaded.
    """
    import timm

    files = [] if folder is None else [folder / f"{offered.name}{end}" for end in FILES]
    file = next((path for path in files if path.is_file()), None)
    found = {"pretrained_cfg_overlay": {"file": str(file)}} if file is not None else {}
    model = timm.create_model(offered.name, pretrained=True, cache_dir=folder, **found, **options)
    state: dict[str, Tensor] = model.state_dict()
    return state
