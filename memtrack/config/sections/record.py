"""Section `record`: which epochs are recorded, and how."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import (
    Field,
    Strict,
)

from memtrack.config.sections.base import Broken, Count, Section
from memtrack.config.yaml_file import Loc


class Every(Section):
    """Record every `interval`-th epoch."""

    kind: Literal["every"]
    interval: Count = 1

    def of(self, last: int) -> tuple[int, ...]:
        """The epochs that are recorded of 1 to `last`, rising."""
        return tuple(range(self.interval, last + 1, self.interval))


class EpochList(Section):
    """Record these epochs; the first is epoch 1."""

    kind: Literal["list"]
    epochs: Annotated[tuple[Count, ...], Strict(False), Field(min_length=1)]

    def of(self, last: int) -> tuple[int, ...]:
        """The epochs that are recorded of 1 to `last`, rising."""
        return tuple(sorted(self.epochs))


class First(Section):
    """Record the first `count` epochs."""

    kind: Literal["first"]
    count: Count

    def of(self, last: int) -> tuple[int, ...]:
        """The epochs that are recorded of 1 to `last`, rising."""
        return tuple(range(1, self.count + 1))


class Geometric(Section):
    """Record epochs 1, about `ratio`, `ratio` squared, ... and the last: dense early, sparse late."""

    kind: Literal["geometric"]
    ratio: Annotated[float, Field(ge=1.01, le=100)] = 1.5

    def of(self, last: int) -> tuple[int, ...]:
        """The epochs that are recorded of 1 to `last`, rising."""
        powers = range(math.ceil(math.log(last, self.ratio)) + 1)
        return tuple(sorted({min(round(self.ratio**power), last) for power in powers}))


RecordedEpochs = Annotated[Every | EpochList | First | Geometric, Field(discriminator="kind")]


class RecordParams(Section):
    """Which epochs are recorded, and how."""

    RENAMED: ClassVar[dict[str, str]] = {"gradient_variance": "name the score vog in evaluate.scores"}

    epochs: RecordedEpochs
    batch_size: Count | None = Field(
        None,
        description="Of the sweep over the training set; null: the fastest, by a short measurement. "
        "Changes the speed; the numbers to rounding at most.",
    )
    checkpoints: Literal["all", "recorded"] = Field(
        "all",
        description="Keep the network after every epoch, or after recorded ones only. With all, any other "
        "choice of epochs is recorded later without training again.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the sweep's arithmetic; bfloat16 wants perturbation_scale >= 0.03."
    )
    compile: bool = Field(False, description="Compile the network for the sweep (torch.compile).")


def epochs_problems(where: Loc, chosen: RecordedEpochs, last: int) -> Broken:
    """What is wrong with a choice of epochs of a training with `last` epochs."""
    found: Broken = []
    if isinstance(chosen, EpochList):
        late = [epoch for epoch in chosen.epochs if epoch > last]
        if late:
            found.append(((*where, "epochs"), f"{late} do not exist: train.epochs is {last}"))
        if len(set(chosen.epochs)) < len(chosen.epochs):
            found.append(((*where, "epochs"), "names an epoch twice"))
    elif isinstance(chosen, First) and chosen.count > last:
        found.append(((*where, "count"), f"is more than there are: train.epochs is {last}"))
    elif isinstance(chosen, Every) and chosen.interval > last:
        found.append(((*where, "interval"), f"would record nothing: train.epochs is {last}"))
    return found
