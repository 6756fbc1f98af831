"""A part of a batch is treated as in the whole batch, which torch's own functions are given."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.whole_batch import WholeBatch

COUNT = 11


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(size: int) -> list[slice]:
    """Unequal parts of a batch."""
    ends = [round(COUNT * (number / size) ** 1.5) for number in range(size + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


class Table:
    """Threads that give each other their tensors."""

    def __init__(self, size: int) -> None:
        self._tensors: list[Any] = [None] * size
        self._all = threading.Barrier(size)

    def stacked(self, number: int, tensor: Tensor) -> Tensor:
        self._tensors[number] = tensor
        self._all.wait()
        result = torch.stack(self._tensors)
        self._all.wait()
        return result

    def each(self, function: Callable[[int, WholeBatch, slice], Any]) -> list[Any]:
        """What a function gives in each thread."""

        def run(number: int, rows: slice) -> Any:
            whole = WholeBatch(
                rows, COUNT,
                stacked=lambda tensor: self.stacked(number, tensor),
                total=lambda tensor: self.stacked(number, tensor).sum(0),
            )  # fmt: skip
            return function(number, whole, rows)

        size = len(self._tensors)
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(run, range(size), parts(size)))


NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1d": (nn.BatchNorm1d(3, momentum=0.3), (3,)),
    "2d": (nn.BatchNorm2d(3, eps=0.1), (3, 4, 5)),
    "3d": (nn.BatchNorm3d(2), (2, 2, 3, 2)),
    "sequence": (nn.BatchNorm1d(3), (3, 6)),
    "without weights": (nn.BatchNorm2d(3, affine=False), (3, 2, 2)),
    "without statistics": (nn.BatchNorm2d(3, track_running_stats=False), (3, 2, 2)),
    "mean of all": (nn.BatchNorm1d(3, momentum=None), (3,)),
}


class TestBatchNorm:
    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize("name", list(NORMS))
    def test_outputs_gradients_and_statistics_are_those_of_the_batch(self, name: str, size: int) -> None:
        norm, shape = copy.deepcopy(NORMS[name][0]).double(), NORMS[name][1]
        with torch.no_grad():
            for parameter in norm.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=seeded(1)) + 0.5)
        inputs = 3 + 2 * torch.randn(COUNT, *shape, dtype=torch.float64, generator=seeded(2))
        upstream = torch.randn(COUNT, *shape, dtype=torch.float64, generator=seeded(3))
        norms = [copy.deepcopy(norm) for _ in range(size)]
        ours = inputs.clone().requires_grad_()

        def run(number: int, whole: WholeBatch, rows: slice) -> tuple[Tensor, Tensor]:
            mine = inputs[rows].clone().requires_grad_()
            for _ in range(2):  # the statistics of two batches
                with whole:
                    found = norms[number](mine)
            (found * upstream[rows]).sum().backward()
            return found.detach(), mine.grad

        found, gradients = (torch.cat(each) for each in zip(*Table(size).each(run), strict=True))
        norm(ours)
        expected = norm(ours)
        (expected * upstream).sum().backward()
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients, ours.grad, rtol=1e-12, atol=1e-12)
        for one, *several in zip(norm.parameters(), *(each.parameters() for each in norms), strict=True):
            total = sum(parameter.grad for parameter in several)
            torch.testing.assert_close(total, one.grad, rtol=1e-12, atol=1e-12)
        for each in norms:
            torch.testing.assert_close(each.state_dict(), norm.state_dict(), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
    def test_in_the_precision_of_the_inputs(self, kind: torch.dtype, memory: torch.memory_format) -> None:
        inputs = (5 + torch.randn(COUNT, 3, 8, 8, generator=seeded(0))).to(kind, memory_format=memory)
        norms = [nn.BatchNorm2d(3) for _ in range(2)]

        def run(number: int, whole: WholeBatch, rows: slice) -> tuple[Tensor, Tensor]:
            mine = inputs[rows].clone().requires_grad_()
            with whole:
                found = norms[number](mine)
            (found.float() ** 3).sum().backward()
            return found.detach(), mine.grad

        found, gradients = (torch.cat(each) for each in zip(*Table(2).each(run), strict=True))
        exact = inputs.double().requires_grad_()
        norm = nn.BatchNorm2d(3).double()
        expected = norm(exact)
        (expected**3).sum().backward()
        assert found.dtype == gradients.dtype == kind
        assert found.is_contiguous(memory_format=memory)
        near = 2e-6 if kind == torch.float32 else 2e-2
        torch.testing.assert_close(found.double(), expected.detach(), rtol=near, atol=near)
        torch.testing.assert_close(gradients.double(), exact.grad, rtol=20 * near, atol=20 * near)
        torch.testing.assert_close(norms[0].running_var.double(), norm.running_var, rtol=1e-5, atol=1e-5)

    def test_in_eval_mode_nothing_is_exchanged(self) -> None:
        norm = nn.BatchNorm1d(3).eval()
        inputs = torch.randn(4, 3)
        with WholeBatch(slice(0, 4), COUNT, stacked=pytest.fail, total=pytest.fail):
            found = norm(inputs)
        assert torch.equal(found, norm(inputs))


RANDOM: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": nn.Dropout(0.3),
    "dropout in place": lambda images: nn.Dropout(0.3, inplace=True)(images.clone()),
    "dropout1d": lambda images: functional.dropout1d(images[:, 0], 0.3),
    "dropout2d": nn.Dropout2d(0.3),
    "alpha dropout": nn.AlphaDropout(0.3),
    "feature alpha dropout": nn.FeatureAlphaDropout(0.3),
    "channels last": lambda images: functional.dropout(images.to(memory_format=torch.channels_last)),
    "stochastic depth": StochasticDepth(0.5, "row"),
    "crop and flip": lambda images: Augmentation(crop=2, flip=True)(images, seeded(4)),
    "noise like the images": lambda images: images + torch.randn_like(images),
    "noise of their size": lambda images: images + torch.randn(images.shape),
    "numbers of their size": lambda images: images + torch.rand(*images.shape),
    "numbers of a size": lambda images: images + torch.rand(size=images.shape),
    "noise in place": lambda images: images + torch.empty_like(images).normal_(1, 2),
    "one after the other": nn.Sequential(nn.Dropout(0.3), StochasticDepth(0.5, "row"), nn.Dropout2d(0.3)),
    "one for all": lambda images: images * torch.rand(3, 1, 1),
    "off": nn.Dropout(0.5).eval(),
}


class TestRandomNumbers:
    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize("name", list(RANDOM))
    def test_each_sample_has_those_that_it_has_in_the_batch(self, name: str, size: int) -> None:
        images, function = torch.randn(COUNT, 3, 8, 8, generator=seeded(0)), RANDOM[name]

        def run(rows: slice) -> tuple[Tensor, Tensor]:
            torch.manual_seed(7)
            mine = images[rows].clone().requires_grad_()
            with WholeBatch(rows, COUNT, stacked=pytest.fail, total=pytest.fail):
                found = function(mine)
            (found**2).sum().backward()
            return found.detach(), mine.grad

        found, gradients = (torch.cat(each) for each in zip(*map(run, parts(size)), strict=True))
        torch.manual_seed(7)
        whole = images.clone().requires_grad_()
        expected = function(whole)
        (expected**2).sum().backward()
        assert torch.equal(found, expected.detach())
        assert torch.equal(gradients, whole.grad)
