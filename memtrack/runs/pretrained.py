"""The weights that a network starts from: where they are, what they are for, and how they are read."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from memtrack.config.errors import InputError
from memtrack.config.paths import input_path
from memtrack.config.sections.train import (
    Library,
    ModelParams,
    Pretrainable,
    TimmModel,
    TorchvisionModel,
)
from memtrack.config.validation import nearest
from memtrack.core.files import file_hash
from memtrack.core.training.models.finetuning import Finetuned, Finetuning
from memtrack.core.training.models.offered import OfferedWeights
from memtrack.core.training.models.timm import FILES, offered_by_timm, timm_names, timm_weights
from memtrack.core.training.models.torchvision import (
    AUXILIARY,
    AUXILIARY_WEIGHTS,
    classifier_names,
    offered_weights,
)
from memtrack.data.prepared import DatasetInfo

WRAPPED = ("state_dict", "model_state_dict", "model", "net")
"""Where programs that train networks put the weights, among other things, into a file."""


def check_name(chosen: ModelParams) -> None:
    """`InputError` if the library is not installed or does not have the network."""
    if isinstance(chosen, TimmModel) and find_spec("timm") is None:
        raise chosen.mistake("kind", message="timm is not installed: pip install 'memtrack[timm]'")
    if not isinstance(chosen, Library):
        return
    name, library = chosen.name.partition(".")[0], "torchvision"
    if isinstance(chosen, TimmModel):
        names, library = timm_names(), "timm"
    else:
        name, names = chosen.name, classifier_names()
    if name not in names:
        raise chosen.mistake("name", message=f"{library} has no classifier {name!r}{nearest(name, names)}")


def offered(chosen: ModelParams) -> OfferedWeights | None:
    """The weights that are chosen by name; None if there are none, or if they come from a file.

    Raises:
        InputError: if the library does not offer them.
    """
    if not isinstance(chosen, Library) or chosen.weights is None or chosen.weights_from_file:
        return None
    check_name(chosen)
    known = offered_by_timm(chosen.name) if isinstance(chosen, TimmModel) else offered_weights(chosen.name)
    if chosen.weights not in known:
        names = f"there are: {', '.join(known)}" if known else "there are none"
        text = f"{chosen.name} has no weights {chosen.weights!r}{nearest(chosen.weights, known)} ({names})"
        raise chosen.mistake("weights", message=text)
    return known[chosen.weights]


def finetuning(
    chosen: ModelParams, info: DatasetInfo, state: Mapping[str, Any] | None = None
) -> Finetuning | None:
    """What the network is for and what of it is trained; None if nothing but its shape is to be said.

    Nothing is read or downloaded. `state` are the weights that it starts from.
    """
    if not isinstance(chosen, Pretrainable):
        return None
    own = offered(chosen)
    size = chosen.input_size or (own.size if own is not None else None)
    if isinstance(chosen, TimmModel) and chosen.input_size is None:
        size = chosen.options.get("img_size", size)
    result = Finetuning(
        info.mean,
        info.std,
        own_mean=chosen.mean or (own.mean if own is not None else None),
        own_std=chosen.std or (own.std if own is not None else None),
        size=size,
        layers=chosen.train_layers,
        rate=chosen.backbone_lr,
        state=state,
    )
    return None if result == Finetuning(info.mean, info.std) else result


def network_facts(chosen: ModelParams, info: DatasetInfo, model: nn.Module) -> dict[str, Any]:
    """What a pretrained network starts from, gets and trains, for the user; empty for any other network."""
    how = finetuning(chosen, info)
    model = next((module for module in model.modules() if isinstance(module, Finetuned)), model)
    if how is None or not isinstance(model, Finetuned) or not isinstance(chosen, Pretrainable):
        return {}
    own = offered(chosen)
    facts: dict[str, Any] = {}
    if chosen.weights is not None:
        facts["weights"] = chosen.weights if own is None else f"{own.name} ({own.url})"
    channels, *size = how.shape(info.shape)
    facts["input"] = "x".join(map(str, (channels, *size)))
    if how.own_mean is not None and how.own_std is not None:
        facts |= {"mean": list(how.own_mean), "std": list(how.own_std)}
    if model.trained is not None:
        facts["trained"] = ["head", *model.trained]
    return facts


def starting_weights(chosen: ModelParams) -> dict[str, Tensor] | None:
    """The weights that the network starts from, by name; None if they are random.

    Raises:
        InputError: if they can be neither found nor downloaded, or are no weights.
    """
    if not isinstance(chosen, Pretrainable) or chosen.weights is None:
        return None
    own = offered(chosen)
    if own is not None and isinstance(chosen, TimmModel):
        return _from_timm(chosen, own)
    state = _read(chosen, _file(chosen, own))
    if isinstance(chosen, TorchvisionModel) and chosen.name in AUXILIARY:
        state = {name: state[name] for name in state if not name.startswith(AUXILIARY_WEIGHTS)}
    return state


def weights_cause(chosen: ModelParams) -> dict[str, Any]:
    """What of a training's fingerprint the weights are: a hash of them, and what they are for.

    Raises:
        InputError: as in `starting_weights`.
    """
    if not isinstance(chosen, Pretrainable) or chosen.weights is None:
        return {}
    own = offered(chosen)
    if own is not None and isinstance(chosen, TimmModel):
        digest = _hash(_from_timm(chosen, own))
    else:
        digest = file_hash(_file(chosen, own))
    return {"weights": {"sha256": digest, **_purpose(own)}}


def _purpose(own: OfferedWeights | None) -> dict[str, Any]:
    if own is None:
        return {}
    return {"mean": list(own.mean), "std": list(own.std), "size": own.size}


def _file(chosen: Pretrainable, own: OfferedWeights | None) -> Path:
    """The file of the weights, which is downloaded if it has a name and is not there."""
    if own is None:
        path = input_path(str(chosen.weights))
        if not path.is_file():
            raise chosen.mistake("weights", message=f"{path}: no such file")
        return path
    assert isinstance(chosen, TorchvisionModel)
    folder = Path(torch.hub.get_dir(), "checkpoints")
    if chosen.weights_folder is not None:
        folder = input_path(chosen.weights_folder)
    path = folder / PurePosixPath(own.url).name
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):  # other trainings may want the same file
            if not path.is_file():
                print(f"{own.name} of {chosen.name}: downloading {own.url} to {folder}", flush=True)
                try:
                    torch.hub.download_url_to_file(own.url, str(path), digest[1] if digest else None)
                except (OSError, RuntimeError) as error:
                    raise _not_downloaded(chosen, own, path, error) from None
    elif digest is not None and not file_hash(path).startswith(digest[1]):
        text = f"{path} is damaged or another file: its sha256 should begin with {digest[1]}: remove it"
        raise chosen.mistake("weights", message=text)
    return path


def _not_downloaded(chosen: Pretrainable, own: OfferedWeights, path: Path, error: Exception) -> InputError:
    text = (
        f"{path} is not there, and it could not be downloaded ({_first_line(error)}): get {own.url} where "
        "there is a network, and put it there, or into another folder that weights_folder names"
    )
    return chosen.mistake("weights", message=text)


def _from_timm(chosen: TimmModel, own: OfferedWeights) -> dict[str, Tensor]:
    folder = None if chosen.weights_folder is None else input_path(chosen.weights_folder)
    try:
        return timm_weights(own, folder, chosen.options)
    except Exception as error:  # timm and its hub raise many kinds
        here = (folder or Path("FOLDER")) / f"{own.name}{FILES[0]}"
        text = (
            f"timm could not load {own.name} ({_first_line(error)}): get its file from {own.url} where there "
            f"is a network, and put it here as {here}"
        )
        if folder is None:
            text += ", with `weights_folder: FOLDER`"
        raise chosen.mistake("weights", message=text) from None


def _read(chosen: Pretrainable, path: Path) -> dict[str, Tensor]:
    """The weights in a file. No code in it is run."""
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        text = (
            f"{path} is damaged, or holds pickled objects, which are not read because this would run code "
            "from the file: write the weights alone, with torch.save(network.state_dict(), FILE) or as "
            "safetensors"
        )
        raise chosen.mistake("weights", message=text) from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        text = f"{path} is damaged, or no file of weights ({_first_line(error)}): copy or save it again"
        raise chosen.mistake("weights", message=text) from None
    state = _unwrapped(content)
    if state is None:
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        text = (
            f"{path} holds no state dict, which torch.save(network.state_dict(), FILE) writes, but "
            f"{found[:300]}"
        )
        raise chosen.mistake("weights", message=text)
    # of a network that memtrack has trained
    return {name: state[name] for name in state if name not in ("inputs.factor", "inputs.offset")}


def _unwrapped(content: Any) -> dict[str, Tensor] | None:
    """The state dict in the content of a file, perhaps among other things; None if there is none."""
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    inner = (_unwrapped(content.get(key)) for key in WRAPPED)
    return next((state for state in inner if state is not None), None)


def _hash(state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
