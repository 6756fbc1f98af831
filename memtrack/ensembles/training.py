"""Train the missing networks of an ensemble, many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path

import torch

from memtrack.config.params import Params
from memtrack.config.sections.compute import ComputeParams
from memtrack.config.sections.train import RecipeParams
from memtrack.core.memorization.stacked import Recipe
from memtrack.core.memorization.subsets import Flags
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.ensembles.confident_trainer import ConfidentTrainer
from memtrack.ensembles.executors.base import Executor
from memtrack.ensembles.executors.processes import Processes
from memtrack.ensembles.executors.ray import Ray, reach
from memtrack.ensembles.group_trainer import GroupTrainer
from memtrack.ensembles.inputs import decoded, recipe
from memtrack.ensembles.network_folder import NetworkFolder
from memtrack.runs.fingerprint import Fingerprint
from memtrack.runs.networks import check_memory, chosen_device
from memtrack.tracking.run import Run

ROUNDS = 4
"""Each worker trains at least this many groups: a kill loses little, and all end at about the same time. On a
GPU it may be fewer if they are short."""


def train_missing(
    folder: NetworkFolder,
    params: Params,
    data: PreparedData,
    variant: VariantData,
    members: Callable[[int], Flags],
    groups: Callable[[int], Iterable[range]],
    device: torch.device,
) -> Generator[tuple[int, ...], None, None]:
    """Train the networks that are missing. Yields the numbers of each group after it is stored.

    Args:
        members: gives the samples that the network with a number is trained on, (N,); must be picklable.
        groups: gives the wanted numbers in groups of at most the given size. The networks of a group are
            trained on the same number of samples.
    """
    wanted = list(groups(2**20))
    if all(number in folder.networks for group in wanted for number in group):
        return
    training_recipe = recipe(params, data)  # reports errors before images are read
    if params.compute.ray is not None:
        reach(params.compute)
    else:
        check_memory(params.recipe, data.info, len(variant.ids), device)
    with decoded(folder.folder / "arrays", data, variant) as arrays:
        trainer = ConfidentTrainer if folder.networks.keep_log_odds else GroupTrainer
        executor = _executor(params.compute, trainer, training_recipe, arrays, members, device)
        size = params.compute.together
        try:
            if size is None:
                print(f"{variant.name}: measuring how many networks to train together", flush=True)
                share, longest = sum(map(len, wanted)) // executor.workers, max(map(len, wanted))
                most, total = (max(1, min(part, longest)) for part in (share // ROUNDS, share))
                [(_, found)] = executor.run("fastest_size", [(most, total)])
                size = found.networks
                if found.why_alone:
                    print(f"{variant.name}: training them one by one, because torch.func cannot stack them: "
                          f"{_first_sentence(found.why_alone)}", flush=True)  # fmt: skip
            missing = (
                tuple(number for number in group if number not in folder.networks) for group in groups(size)
            )
            for numbers, found in executor.run("train", filter(None, missing)):
                folder.networks.add(numbers, *found)
                folder.keep(numbers)
                yield numbers
        except FloatingPointError as error:
            text = f"{error}: choose a lower learning rate"
            raise params.recipe.mistake("optimizer", "lr", message=text) from None
        except torch.OutOfMemoryError as error:
            text = f"a network does not fit into the device's memory: choose a smaller batch size ({error})"
            raise params.recipe.mistake("batch_size", message=text) from None
        except RuntimeError as error:
            if size == 1 or params.compute.together is None:
                raise
            text = f"this many networks cannot be trained together: choose null or 1 ({error})"
            raise params.compute.mistake("together", message=text) from None


def training_device(params: Params) -> torch.device:
    """The device of train.device; `InputError` if this machine does not have it. A Ray cluster is not checked
    before it is used."""
    if params.compute.ray is not None and params.train.device != "auto":
        return torch.device(params.train.device)
    return chosen_device(params.train)


def open_run(
    params: Params, variant: VariantData, what: str, fingerprint: Fingerprint, options: Mapping[str, object]
) -> Run:
    """The MLflow run of an ensemble.

    Args:
        what: the computation: "memorization" or "utility".
        options: its parameters, in addition to the recipe and the variant.
    """
    parameters = {
        **options,
        "recipe": params.recipe.model_dump(mode="json", include=set(RecipeParams.model_fields)),
        "variant": params.variants[variant.name].model_dump(mode="json"),
    }
    return Run.of_computation(
        params, variant.name, what, name=f"{variant.name}, {what}", parameters=parameters,
        computed={"networks": fingerprint.key},
    )  # fmt: skip


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0][:300]


def chunks(numbers: range, size: int) -> Iterator[range]:
    """Split the numbers into groups of at most `size`."""
    for start in range(numbers.start, numbers.stop, size):
        yield range(start, min(start + size, numbers.stop))


def _executor(
    options: ComputeParams,
    kind: type[GroupTrainer],
    training_recipe: Recipe,
    arrays: Path,
    members: Callable[[int], Flags],
    device: torch.device,
) -> Executor:
    workers = options.workers or (_cores() if device.type == "cpu" else 1)
    threads = None if workers == 1 and options.ray is None else 1
    trainer = kind(training_recipe, arrays, members, device, threads)
    return Processes(trainer, workers, options) if options.ray is None else Ray(trainer, options)


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
