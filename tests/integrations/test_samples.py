"""The samples of somebody's data set: in which forms they may come, and which mistakes are found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from memtrack.integrations import samples as module
from memtrack.integrations.samples import PlainSamples, randomness_kept

COUNT, SHAPE = 20, (1, 6, 5)


def inputs() -> Tensor:
    return torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(1))


def labels() -> Tensor:
    return torch.arange(COUNT) % 3


def pairs() -> list[tuple[Tensor, int]]:
    return list(zip(inputs(), labels().tolist(), strict=True))


class Dataset2(Dataset[Any]):
    """Samples that a function gives."""

    def __init__(self, give: Callable[[int], Any], count: int = COUNT) -> None:
        self.give, self.count = give, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Any:
        return self.give(row)


def augmented(row: int) -> tuple[Tensor, int]:
    image, label = pairs()[row]
    return (image.flip(2) if torch.rand(()) < 0.5 else image), label


FORMS: dict[str, Any] = {
    "tensors": lambda: (inputs(), labels()),
    "arrays": lambda: (inputs().numpy(), labels().numpy()),
    "a tensor data set": lambda: TensorDataset(inputs(), labels()),
    "a list": pairs,
    "arrays one by one": lambda: Dataset2(lambda row: (inputs()[row].numpy(), np.int64(row % 3))),
    "with more behind": lambda: Dataset2(lambda row: (inputs()[row], row % 3, "more")),
    "dictionaries": lambda: Dataset2(
        lambda row: {"pixel_values": inputs()[row], "labels": torch.tensor(row % 3)}
    ),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_forms(form: str) -> None:
    found = PlainSamples(FORMS[form]())
    assert found.ids == [str(row) for row in range(COUNT)]
    assert found.labels.tolist() == labels().tolist()
    batches = list(found.batches(8, torch.device("cpu"), torch.float64))
    assert [len(part) for part, _ in batches] == [8, 8, 4]
    assert torch.equal(torch.cat([part for part, _ in batches]), inputs().double())
    assert torch.equal(torch.cat([given for _, given in batches]), labels())


def test_a_form_of_its_own() -> None:
    data = Dataset2(lambda row: {"x": inputs()[row], "target": {"class": row % 3}})
    found = PlainSamples(data, unpack=lambda item: (item["x"], item["target"]["class"]))
    assert found.labels.tolist() == labels().tolist()


def test_worker_processes() -> None:
    found = PlainSamples(TensorDataset(inputs(), labels()), workers=1)
    assert torch.equal(next(found.batches(COUNT, torch.device("cpu"), torch.float32))[0], inputs())


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(pairs())


def with_item(row: int, item: Any) -> list[Any]:
    found: list[Any] = list(pairs())
    found[row] = item
    return found


IMAGE = torch.zeros(SHAPE)
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "augmentation": (lambda: Dataset2(augmented), "at every reading: give .* without augmentation"),
    "a stream": (Stream, "give a map-style data set"),
    "a generator": (lambda: (pair for pair in pairs()), "give a map-style data set"),
    "a loader": (lambda: DataLoader(TensorDataset(inputs(), labels())), "give its data set"),
    "no samples": (list, "has no samples"),
    "other numbers of labels": (lambda: (inputs(), labels()[1:]), "20 inputs and 19 labels"),
    "no label": (lambda: with_item(4, IMAGE), r"sample '4' is a Tensor: it should be \(inputs, label\)"),
    "a dictionary of others": (lambda: with_item(4, {"x": IMAGE}), "sample '4' is a dict.*`unpack`"),
    "pixels": (lambda: with_item(7, (IMAGE.byte(), 1)), "'7' has inputs that are torch.uint8: .* transform"),
    "an image of PIL": (lambda: with_item(7, (object(), 1)), "sample '7' has inputs that are a object"),
    "a text": (lambda: with_item(5, (IMAGE, "cat")), "the label 'cat': labels are class numbers"),
    "texts": (lambda: (np.zeros((3, 2)), np.array(["a", "b", "c"])), "the labels are <U1: labels are class"),
    "a negative label": (lambda: with_item(5, (IMAGE, -1)), "sample '5' has the label -1"),
    "a label of a fraction": (lambda: with_item(5, (IMAGE, 1.0)), "sample '5' has the label 1.0"),
    "several labels": (lambda: with_item(5, (IMAGE, torch.ones(3))), "sample '5' has the label tensor"),
    "another shape": (lambda: with_item(5, (torch.zeros(1, 5, 5), 1)), r"'5' is \(1, 5, 5\).*the same shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes(name: str) -> None:
    make, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        PlainSamples(make())


def test_another_shape_in_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ", 5)
    with pytest.raises(ValueError, match=r"sample '5' is \(1, 5, 5\)"):
        PlainSamples([*pairs()[:5], *([(torch.zeros(1, 5, 5), 1)] * 5)])


IDS = [f"s{row}" for row in range(COUNT)]
WRONG_IDS = {
    "repeated": ([*IDS[:-1], "s3"], "the id 's3' is that of the samples number 3 and 19"),
    "too few": (IDS[:-1], "20 samples and 19 ids"),
    "empty": (["", *IDS[1:]], "the id of sample number 0 is missing"),
}


@pytest.mark.parametrize("name", list(WRONG_IDS))
def test_ids(name: str) -> None:
    assert PlainSamples(pairs(), ids=IDS).ids == IDS
    ids, message = WRONG_IDS[name]
    with pytest.raises(ValueError, match=message):
        PlainSamples(pairs(), ids=ids)


class TestMoreThanFitsIntoMemory:
    @pytest.fixture(autouse=True)
    def nothing_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "KEPT", 0)

    def test_it_is_read_for_every_sweep(self) -> None:
        read: list[int] = []

        def give(row: int) -> Any:
            read.append(row)
            return pairs()[row]

        found = PlainSamples(Dataset2(give))
        read.clear()
        assert torch.equal(
            torch.cat([x for x, _ in found.batches(8, torch.device("cpu"), torch.float32)]), inputs()
        )
        assert read == list(range(COUNT))

    @pytest.mark.parametrize("change", ["inputs", "label"])
    def test_a_sample_that_changes_later(self, change: str) -> None:
        data = pairs()
        found = PlainSamples(data)
        image, label = data[13]
        data[13] = (image + 1, label) if change == "inputs" else (image, label + 1)
        with pytest.raises(ValueError, match="sample '13' gives other numbers"):
            list(found.batches(8, torch.device("cpu"), torch.float32))


class TestSmallImages:
    def test_a_normalization_is_undone(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 8), dtype=np.uint8)
        pixels[0, :, 0, 0], pixels[0, :, 0, 1] = 0, 255
        mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])
        normalized = (torch.from_numpy(pixels) / 255 - mean[:, None, None]) / std[:, None, None]
        assert np.array_equal(PlainSamples((normalized, labels())).images, pixels)

    @pytest.mark.parametrize(("shape", "small"), [((3, 200, 100), (64, 32)), ((1, 64, 10), (64, 10))])
    def test_large_ones_are_made_small(self, shape: tuple[int, ...], small: tuple[int, ...]) -> None:
        images = PlainSamples((torch.rand(2, *shape), torch.arange(2))).images
        assert images is not None
        assert images.shape == (2, shape[0], *small)

    @pytest.mark.parametrize("shape", [(7,), (4, 6, 6)])
    def test_what_is_no_image(self, shape: tuple[int, ...]) -> None:
        found = PlainSamples((torch.rand(2, *shape), torch.arange(2)))
        assert found.images is None
        assert found.vectors is not None
        assert found.vectors.shape == (2, int(np.prod(shape)))


def test_random_numbers_are_those_that_would_have_come() -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = drawn()
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    with randomness_kept():
        drawn()
    assert drawn() == expected
