"""Batches: the right images with the right labels, normalized, in id order or shuffled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.config.errors import InputError
from memtrack.config.sections.data import Digits, ImageFolder
from memtrack.core.images.normalization import Normalization
from memtrack.core.images.pixels import RandomizedPixels
from memtrack.core.recording.curvature import ForwardDifference
from memtrack.core.recording.recorder import QUANTITIES, joined, record_epoch
from memtrack.core.training.models import build
from memtrack.data import image_store
from memtrack.data.batches import Batches
from memtrack.data.image_store import Change, ImageStore
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected, collect

Picture = Callable[..., Path]
N = 23
CPU = torch.device("cpu")
ALIVE: list[Batches] = []
"""Batches with workers stay until the process ends: to collect them takes seconds a worker."""


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, size=(N + 4, 3, 4, 5), dtype=np.uint8)


@pytest.fixture
def arrays(pixels: NDArray[np.uint8]) -> PreparedData:
    """23 training and 4 test samples that are arrays, the second channel darker."""
    pixels[:, 1] //= 3
    names = [f"{i}" for i in range(len(pixels))]
    splits = ["train"] * N + ["test"] * 4
    labels = ["ab"[i % 2] for i in range(len(pixels))]
    collected = Collected(names, labels, splits, ("a", "b"), pixels)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    return PreparedData()


@pytest.fixture
def files(picture: Picture) -> PreparedData:
    """The same number of samples as image files."""
    for i in range(N + 4):
        picture(f"photos/{'train' if i < N else 'test'}/{'ab'[i % 2]}/{i:02}.png", seed=i)
    params = ImageFolder(kind="image_folder", root="photos", train="train", test="test", image_size=6)
    write_prepared(collect(params), params, Path("data/prepared"))
    return PreparedData()


def batches(
    data: PreparedData, size: int, workers: int = 0, split: str = "train", change: Change | None = None
) -> Batches:
    """Batches whose labels are the rows, so that each sample can be told from the others."""
    where = data.split(split)["image"].tolist()
    store = ImageStore(data, where, CPU, workers=workers, change=change)
    return Batches(store, normalization(data), np.arange(len(where)), batch_size=size)


def normalization(data: PreparedData) -> Normalization:
    return Normalization(data.info.mean, data.info.std, CPU)


def everything(batches: Batches) -> tuple[Tensor, list[int]]:
    """All inputs and labels of one pass."""
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels).tolist()


@pytest.mark.parametrize("size", [1, 4, 11, 22, 23, 24, 100])
def test_inputs_are_normalized_and_in_id_order(
    size: int, arrays: PreparedData, pixels: NDArray[np.uint8]
) -> None:
    inputs, labels = everything(batches(arrays, size))
    train = pixels[:N].astype(np.float64) / 255
    mean, std = train.mean(axis=(0, 2, 3)), train.std(axis=(0, 2, 3))
    wanted = (train - mean[:, None, None]) / std[:, None, None]
    assert labels == list(range(N))
    assert inputs.dtype == torch.float32
    assert inputs.shape == (N, 3, 4, 5)
    assert np.abs(inputs.numpy() - wanted).max() < 1e-5


def test_the_test_split_is_normalized_like_the_training_split(
    arrays: PreparedData, pixels: NDArray[np.uint8]
) -> None:
    inputs, labels = everything(batches(arrays, 3, split="test"))
    train, test = pixels[:N].astype(np.float64) / 255, pixels[N:].astype(np.float64) / 255
    mean, std = train.mean(axis=(0, 2, 3)), train.std(axis=(0, 2, 3))
    wanted = (test - mean[:, None, None]) / std[:, None, None]
    assert labels == list(range(4))
    assert np.abs(inputs.numpy() - wanted).max() < 1e-5


def test_labels_are_those_that_were_given(arrays: PreparedData) -> None:
    given = np.random.default_rng(1).integers(0, 10, size=N)
    store = ImageStore(arrays, arrays.split("train")["image"].tolist(), CPU)
    made = Batches(store, normalization(arrays), given, batch_size=5)
    labels = torch.cat([labels for _, labels in made.shuffled(seed=0, epoch=1)])
    order = torch.cat([rows for _, rows in batches(arrays, 5).shuffled(seed=0, epoch=1)])
    assert labels.dtype == torch.int64
    assert labels.tolist() == given[order.numpy()].tolist()


@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (5, [5, 5, 5, 5, 3]),
        (11, [11, 12]),  # the last one would be alone
        (22, [23]),
        (23, [23]),
        (24, [23]),
        (2, [2] * 10 + [3]),
        (16, [23]),  # 7 would be few
    ],
)
def test_a_batch_of_one_joins_the_batch_before(size: int, lengths: list[int], arrays: PreparedData) -> None:
    made = batches(arrays, size)
    for _ in range(2):
        assert [len(labels) for _, labels in made] == lengths
        assert [len(rows) for rows in made.cuts()] == lengths
        assert len(made) == len(lengths)
        made.shuffled(seed=0, epoch=1)


def test_a_shuffled_pass_has_each_sample_once_with_its_image(arrays: PreparedData) -> None:
    plain, _ = everything(batches(arrays, 5))
    inputs, labels = everything(batches(arrays, 5).shuffled(seed=0, epoch=1))
    assert sorted(labels) == list(range(N))
    assert labels != sorted(labels)
    assert torch.equal(inputs, plain[labels])


def test_the_order_depends_on_seed_and_epoch_alone(arrays: PreparedData) -> None:
    def order(made: Batches, seed: int, epoch: int) -> list[int]:
        return everything(made.shuffled(seed=seed, epoch=epoch))[1]

    used = batches(arrays, 5)
    orders = {(seed, epoch): order(used, seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)}
    assert len({tuple(rows) for rows in orders.values()}) == len(orders)
    for seed, epoch in reversed(list(orders)):  # whatever came before, and in batches of any size
        assert order(used, seed, epoch) == orders[(seed, epoch)]
        assert order(batches(arrays, 7), seed, epoch) == orders[(seed, epoch)]


def test_the_global_seed_of_torch_and_numpy_changes_nothing(arrays: PreparedData) -> None:
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        orders.append(everything(batches(arrays, 5).shuffled(seed=0, epoch=1))[1])
    assert orders[0] == orders[1]


def test_a_pass_that_was_broken_off_can_be_begun_again(arrays: PreparedData) -> None:
    made = batches(arrays, 5)
    for _, labels in made:
        assert labels.tolist() == [0, 1, 2, 3, 4]
        break
    assert everything(made)[1] == list(range(N))


def test_workers_change_nothing_for_files(files: PreparedData) -> None:
    alone, helped = batches(files, 4), batches(files, 4, workers=2)
    ALIVE.append(helped)
    plain, _ = everything(alone)
    for epoch in (None, 1, 2):
        if epoch is not None:
            alone.shuffled(seed=5, epoch=epoch)
            helped.shuffled(seed=5, epoch=epoch)
        passes = [list(alone), list(helped)]
        assert [len(labels) for _, labels in passes[0]] == [len(labels) for _, labels in passes[1]]
        for (inputs, labels), (other, same) in zip(*passes, strict=True):
            assert torch.equal(inputs, other)
            assert torch.equal(labels, same)
            assert torch.equal(inputs, plain[labels])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_no_bit_of_a_record(files: PreparedData) -> None:
    model = build("cnn", (3, 6, 6), 2, width=4, depth=2, dropout=0.5)
    model.train()(torch.randn(32, 3, 6, 6))  # running statistics that are not those it began with
    helped = batches(files, 4, workers=4)
    ALIVE.append(helped)
    labels = np.random.default_rng(2).integers(0, 2, size=N)
    estimator = ForwardDifference(0.05, probes=2, seed=3)
    records = []
    for made in (batches(files, 4), helped):
        made.labels = torch.from_numpy(labels)
        parts = record_epoch(model, made, estimator, epoch=2)
        records.append({name: array.tobytes() for name, array in joined(parts).items()})
    assert records[0] == records[1]
    assert records[0].keys() == QUANTITIES.keys()
    assert len(np.unique(np.frombuffer(records[0]["curvature"], np.float32))) > N // 2


def test_files_are_normalized(files: PreparedData) -> None:
    inputs, _ = everything(batches(files, 4))
    raw = files.images(files.split("train")["image"].tolist()).astype(np.float64) / 255
    mean, std = raw.mean(axis=(0, 2, 3)), raw.std(axis=(0, 2, 3))
    wanted = (raw - mean[:, None, None]) / std[:, None, None]
    assert np.abs(inputs.numpy() - wanted).max() < 1e-5
    assert inputs.shape == (N, 3, 6, 6)


@pytest.mark.parametrize("workers", [0, 2])
def test_randomized_pixels_are_those_of_the_row(workers: int, files: PreparedData) -> None:
    """Whatever the order and the batch."""
    randomized = RandomizedPixels("random", 3, files.info.mean, files.info.std)
    where = files.split("train")["image"].tolist()
    made = batches(files, 5, workers, change=randomized)
    images = torch.from_numpy(randomized(files.images(where), range(N))).float() / 255
    mean, std = torch.tensor(files.info.mean), torch.tensor(files.info.std)
    wanted = (images - mean[:, None, None]) / std[:, None, None]
    inputs, rows = everything(made.shuffled(seed=1, epoch=1))
    assert rows != sorted(rows)
    assert (inputs - wanted[rows]).abs().max() < 1e-5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_is_given_images_rows_and_epoch(workers: int, arrays: PreparedData) -> None:
    """Arrays go through the workers too, and other passes know nothing of it."""
    where = arrays.split("train")["image"].tolist()
    store = ImageStore(arrays, where, CPU, workers=workers, transform=_marked)
    made = Batches(store, normalization(arrays), np.arange(N), batch_size=5)
    if workers:
        ALIVE.append(made)
    std, mean = (torch.tensor(values)[:, None] for values in (arrays.info.std, arrays.info.mean))
    for epoch in (3, 1):
        inputs, rows = everything(made.shuffled(seed=1, epoch=epoch))
        found = (inputs[:, :, 0, :2] * std + mean) * 255
        assert torch.allclose(found[:, :, 0], torch.tensor(rows)[:, None].float(), atol=0.01)
        assert torch.allclose(found[:, :, 1], torch.tensor(float(epoch)), atol=0.01)


def _marked(images: NDArray[np.uint8], rows: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
    marked = images.copy()
    marked[:, :, 0, 0], marked[:, :, 0, 1] = rows[:, None], epoch
    return marked


def test_an_image_that_goes_missing_is_named_without_a_traceback(files: PreparedData) -> None:
    name = files.split("train")["image"].tolist()[6]
    Path("photos", name).unlink()
    with pytest.raises(InputError) as caught:
        everything(batches(files, 4))
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"photos/{name}: cannot be read: No such file or directory. ")


@pytest.mark.parametrize("free", [10**9, 0])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_has_the_same_images_channels_last(
    free: int, workers: int, files: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = everything(batches(files, 4))
    monkeypatch.setattr(image_store, "on_gpu", lambda _: True)
    monkeypatch.setattr(image_store, "free_on_gpu", lambda _: free)
    made = batches(files, 4, workers)
    ALIVE.append(made)
    for epoch in (1, 2):
        passed = list(made.shuffled(seed=5, epoch=epoch))
        assert all(inputs.is_contiguous(memory_format=torch.channels_last) for inputs, _ in passed)
        order = torch.cat([labels for _, labels in passed])
        assert torch.equal(torch.cat([inputs for inputs, _ in passed]), plain[order])


def test_changed_images_are_computed_once(arrays: PreparedData) -> None:
    seen = []

    def change(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        seen.extend(rows)
        return 255 - images

    made = batches(arrays, 4, change=change)
    first, _ = everything(made)
    again, _ = everything(made)
    assert torch.equal(first, again)
    assert sorted(seen) == list(range(N))
