"""One network that several processes train together: which part each takes, and what they exchange."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from memtrack.core.training.whole_batch import WholeBatch

T = TypeVar("T")
WAIT = timedelta(days=2)
"""How long a process waits for another one. A process that has died is noticed at once."""
PASSES = 4
"""How many passes are tried to find out whether a network uses all its parameters."""


class World:
    """The processes that train a network together. This class is a process that trains alone.

    Attributes:
        rank: the number of this process. size: the number of processes.
        device: the device of this process; None: it may choose.
    """

    rank = 0
    size = 1
    device: torch.device | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides, writes and prints."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of `count` items. The parts of all processes are contiguous, in the order of
        the ranks, and differ by one item at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def of_each(self, cuts: Sequence[T]) -> list[T]:
        """This process's part of each batch; a batch is an array."""
        return [cut[self.part(len(cut))] for cut in cuts]  # type: ignore[arg-type,index]

    def some_of(self, cuts: Sequence[T]) -> list[T]:
        """This process's part of a list of batches: a contiguous range of whole batches."""
        return list(cuts[self.part(len(cuts))])

    def whole_batch(self, count: int) -> AbstractContextManager[object]:
        """Inside it, a network that is given this process's part of a batch of `count` samples computes what
        it would compute if it were given the batch; see `WholeBatch`."""
        return nullcontext()

    def replicated(self, model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        """The network, as it is to be called in training: the gradients of its parameters are the mean over
        the processes. `shape` is that of an input."""
        return model

    def align(self, model: nn.Module) -> None:
        """Give the processes the weights and buffers of the first."""

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of the tensors of all processes."""
        return tensor

    def stacked(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, (size, ...), in the order of the ranks."""
        return tensor[None]

    def decided(self, decide: Callable[[], T]) -> T:
        """What `decide` returns in the first process; it is called there alone."""
        return decide()

    def gathered(self, item: T) -> list[T]:
        """The items of all processes, in the order of the ranks."""
        return [item]

    def in_order(self, items: Iterable[T]) -> Iterator[T]:
        """In the first process: its items, then those of the others in the order of the ranks. In the other
        processes nothing; they make their items and send them."""
        yield from items


ALONE = World()


class ProcessGroup(World):
    """The processes of the default group of torch.distributed.

    Args:
        device: the device of this process's tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.device = device
        self._objects: Any = distributed.new_group(backend="gloo", timeout=WAIT)

    def whole_batch(self, count: int) -> AbstractContextManager[object]:
        """See `World`."""
        return WholeBatch(self.part(count), count, stacked=self.stacked, total=self.total)

    def replicated(self, model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        """See `World`."""
        unused = _leaves_parameters_unused(model, next(model.parameters()).new_zeros(2, *shape))
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)

    def align(self, model: nn.Module) -> None:
        """See `World`."""
        for tensor in model.state_dict().values():
            if isinstance(tensor, Tensor):
                distributed.broadcast(tensor, src=0)

    def total(self, tensor: Tensor) -> Tensor:
        """See `World`."""
        result = tensor.clone()
        distributed.all_reduce(result)
        return result

    def stacked(self, tensor: Tensor) -> Tensor:
        """See `World`."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    def decided(self, decide: Callable[[], T]) -> T:
        """See `World`."""
        item: list[Any] = [decide() if self.is_first else None]
        distributed.broadcast_object_list(item, src=0, group=self._objects)
        result: T = item[0]
        return result

    def gathered(self, item: T) -> list[T]:
        """See `World`."""
        items: list[Any] = [None] * self.size
        distributed.all_gather_object(items, item, group=self._objects)
        return items

    def in_order(self, items: Iterable[T]) -> Iterator[T]:
        """See `World`."""
        if self.is_first:
            yield from items
            others: list[list[T]] = self.gathered([])
            yield from chain.from_iterable(others)
        else:
            self.gathered(list(items))


def _leaves_parameters_unused(model: nn.Module, inputs: Tensor) -> bool:
    """Whether training passes leave out some parameters, perhaps at random."""
    tried = deepcopy(model).train()
    trained = [parameter for parameter in tried.parameters() if parameter.requires_grad]
    for _ in range(PASSES):
        tried.zero_grad(set_to_none=True)
        tried(inputs).sum().backward()
        if any(parameter.grad is None for parameter in trained):
            return True
    return False
