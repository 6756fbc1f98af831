"""Where the networks of an estimate live until all are there: .memtrack/networks/NAME-KEY in the project.

As with a training (`memtrack.io.workplace`), but a network is a row of bits, and nothing is thrown away when
the estimate is whole: more networks may be asked for later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from memtrack.core.ensemble import Flags, Recipe
from memtrack.io.correctness import Correctness, DamagedNetworks, OtherNetworks
from memtrack.io.dataset import PreparedData
from memtrack.io.engines import Engine, Processes, Ray, reach
from memtrack.io.fingerprint import Fingerprint
from memtrack.io.networks import chosen_device
from memtrack.io.params import ComputeParams, Params, RecipeParams, mistake
from memtrack.io.paths import project_root
from memtrack.io.task import Task
from memtrack.io.task_inputs import decoded, recipe
from memtrack.io.tracking import Run, dataset
from memtrack.io.tracking_uri import tracking_uri
from memtrack.io.variants import VariantData

FOLDER = Path(".memtrack/networks")
ROUNDS = 4
"""Each worker trains at least so many groups: a kill loses little, and all end at about the same time."""
NETWORKS, FINGERPRINT = "networks.npz", "networks.json"


class Place:
    """The networks of one estimate, for this process alone.

    Attributes:
        networks: those that are there.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, samples: tuple[int, int]) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.networks = Correctness(fingerprint.key, samples)
        for path in sorted(folder.glob("*.npz")):
            try:
                self.networks.read(path)
            except DamagedNetworks:
                print(f"{path}: is damaged: what is not elsewhere is trained again")
                path.unlink()

    @classmethod
    @contextmanager
    def claimed(
        cls, name: str, fingerprint: Fingerprint, samples: tuple[int, int], published: Path | None = None
    ) -> Iterator[Place]:
        """The place of an estimate, with what `published` has of it. Another process that is at the same
        estimate is waited for: what it trains need not be trained again."""
        folder = project_root() / FOLDER / f"{name}-{fingerprint.key}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{name}: another process trains these networks: waiting for it", flush=True)
            lock.acquire()
        try:
            place = cls(folder, fingerprint, samples)
            if published is not None and (published / NETWORKS).exists():
                try:
                    place._keep(place.networks.read(published / NETWORKS))
                except OtherNetworks:  # of other parameters
                    pass
                except DamagedNetworks:
                    print(f"{published / NETWORKS}: is damaged: what is not elsewhere is trained again")
            yield place
        finally:
            lock.release()

    def publish(self, results: Path, numbers: Sequence[int]) -> None:
        """Write networks to one file in `results`."""
        results.mkdir(parents=True, exist_ok=True)
        self.networks.write(results / NETWORKS, numbers)
        self.fingerprint.write(results / FINGERPRINT)

    def _keep(self, numbers: Sequence[int]) -> None:
        """Networks that were added stay when this process ends."""
        if numbers:
            self.networks.write(self.folder / f"{numbers[0]:08d}_{len(numbers)}.npz", numbers)

    def train(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        members: Callable[[int], Flags],
        groups: Callable[[int], Iterable[range]],
        device: torch.device,
    ) -> Generator[tuple[int, ...], None, None]:
        """Train the networks that are not there yet; the numbers of each group once it is there.

        Args:
            members: which samples the network with a number is trained on, (N,); can be pickled.
            groups: the numbers wanted, cut into groups of networks with as many samples each, at most so
                many as it is told.
        """
        wanted = list(groups(2**20))
        if all(number in self.networks for group in wanted for number in group):
            return
        how = recipe(params, data)  # what is wrong with it is said before images are read
        if params.compute.ray is not None:
            reach(params.compute.ray)
        with decoded(self.folder / "arrays", data, variant) as arrays:
            engine = _engine(params.compute, how, arrays, members, device)
            size = params.compute.together
            try:
                if size is None:
                    print(f"{variant.name}: measuring how many networks to train together", flush=True)
                    share = sum(map(len, wanted)) // (ROUNDS * engine.workers)
                    most = max(1, min(share, max(map(len, wanted))))
                    [(_, size)] = engine.run("fastest_size", [(most,)])
                missing = (
                    tuple(number for number in group if number not in self.networks) for group in groups(size)
                )
                for numbers, (train, test) in engine.run("train", filter(None, missing)):
                    self.networks.add(numbers, train, test)
                    self._keep(numbers)
                    yield numbers
            except FloatingPointError as error:
                text = f"{error}: choose a lower one"
                raise mistake(*params.recipe_section, "optimizer", "lr", message=text) from None
            except torch.OutOfMemoryError as error:
                text = f"a network does not fit into the memory of the device: choose a lower one ({error})"
                raise mistake(*params.recipe_section, "batch_size", message=text) from None
            except RuntimeError as error:
                if size == 1 or params.compute.together is None:
                    raise
                text = f"so many networks cannot be trained together, choose null or 1: {error}"
                raise mistake("compute", "together", message=text) from None


def training_device(params: Params) -> torch.device:
    """As train.device says; `InputError` where this machine has no such device. A Ray cluster is not asked
    before it is used."""
    if params.compute.ray is not None and params.train.device != "auto":
        return torch.device(params.train.device)
    return chosen_device(params)


def open_run(
    params: Params, variant: VariantData, what: str, fingerprint: Fingerprint, told: Mapping[str, object]
) -> Run:
    """An MLflow run for networks, that of an interrupted process with the same parameters on the same store,
    or a new one; `told` are its parameters beside the recipe and the variant."""
    parameters = {
        **told,
        "recipe": params.recipe.model_dump(mode="json", include=set(RecipeParams.model_fields)),
        "variant": params.variants[variant.name].model_dump(mode="json"),
    }
    store = [tracking_uri(params.tracking), params.tracking.experiment]
    causes = {"networks": fingerprint.key, "told": parameters, "store": store, "what": what}
    run = Run.open(
        params.tracking,
        variant.name,
        name=f"{variant.name}, {what}",
        parameters=parameters,
        tags={"source": params.data.kind},
        key=f"{what}-{variant.name}-{Fingerprint(causes=causes).key}",
    )
    run.log(dataset=dataset(params.data.kind, variant.name))
    return run


def chunks(numbers: range, size: int) -> Iterator[range]:
    """The numbers in groups of at most `size`."""
    for start in range(numbers.start, numbers.stop, size):
        yield range(start, min(start + size, numbers.stop))


def _engine(
    options: ComputeParams, how: Recipe, arrays: Path, members: Callable[[int], Flags], device: torch.device
) -> Engine:
    workers = options.workers or (_cores() if device.type == "cpu" else 1)
    threads = None if workers == 1 and options.ray is None else 1
    task = Task(how, arrays, members, device, threads)
    return Processes(task, workers) if options.ray is None else Ray(task, options.ray)


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
