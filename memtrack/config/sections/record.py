"""Section `record`: which epochs are recorded, and how."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import (
    Field,
    Strict,
)

from memtrack.config.sections.base import BatchSize, Broken, Epochs, Section
from memtrack.config.yaml_file import Loc


class Every(Section):
    """Record every `interval`-th epoch."""

    kind: Literal["every"]
    interval: Epochs = 1

    def of(self, last: int) -> tuple[int, ...]:
        """The recorded epochs among 1 to `last`, in rising order."""
        return tuple(range(self.interval, last + 1, self.interval))


class EpochList(Section):
    """Record these epochs; the first is epoch 1."""

    kind: Literal["list"]
    epochs: Annotated[tuple[Epochs, ...], Strict(False), Field(min_length=1)]

    def of(self, last: int) -> tuple[int, ...]:
        """The recorded epochs among 1 to `last`, in rising order."""
        return tuple(sorted(self.epochs))


class First(Section):
    """Record the first `count` epochs."""

    kind: Literal["first"]
    count: Epochs

    def of(self, last: int) -> tuple[int, ...]:
        """The recorded epochs among 1 to `last`, in rising order."""
        return tuple(range(1, self.count + 1))


class Geometric(Section):
    """Record epoch 1, about `ratio`, `ratio` squared, ... and the last: dense early, sparse late."""

    kind: Literal["geometric"]
    ratio: Annotated[float, Field(ge=1.01, le=100)] = 1.5

    def of(self, last: int) -> tuple[int, ...]:
        """The recorded epochs among 1 to `last`, in rising order."""
        powers = range(math.ceil(math.log(last, self.ratio)) + 1)
        return tuple(sorted({min(round(self.ratio**power), last) for power in powers}))


RecordedEpochs = Annotated[Every | EpochList | First | Geometric, Field(discriminator="kind")]


class RecordParams(Section):
    """Which epochs are recorded, and how."""

    RENAMED: ClassVar[dict[str, str]] = {"gradient_variance": "name the score vog in evaluate.scores"}

    epochs: RecordedEpochs
    batch_size: BatchSize | None = Field(
        None,
        description="Batch size of the sweep over the training set; null: the fastest, found by a short "
        "measurement. It changes the speed, and the numbers by rounding at most.",
    )
    checkpoints: Literal["all", "recorded"] = Field(
        "all",
        description="Keep the network after every epoch, or only after recorded epochs. With all, other "
        "epochs can be recorded later without training again.",
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="Precision of the sweep; auto: float32, and on a GPU that computes with bfloat16 and "
        "TensorFloat-32 the fastest that ranks 512 of the samples as float64 does (measured, Spearman's rho "
        ".999). bfloat16 requires perturbation_scale >= 0.03, tf32 >= 0.005.",
    )
    compile: bool = Field(False, description="Compile the network for the sweep (torch.compile).")
    susceptibility: bool = Field(
        False,
        description="After each epoch measure how far a step on a batch with random labels would lower their "
        "loss (Forouzesh et al., ICLR 2023); the mean is in history.csv. It costs two to three steps an "
        "epoch. Trained networks that lack it are trained again, to the same weights.",
    )


def epochs_problems(where: Loc, chosen: RecordedEpochs, last: int) -> Broken:
    """What is wrong with a choice of recorded epochs for a training of `last` epochs."""
    found: Broken = []
    if isinstance(chosen, EpochList):
        late = [epoch for epoch in chosen.epochs if epoch > last]
        if late:
            found.append(((*where, "epochs"), f"{late} do not exist: train.epochs is {last}"))
        if len(set(chosen.epochs)) < len(chosen.epochs):
            found.append(((*where, "epochs"), "names an epoch twice"))
    elif isinstance(chosen, First) and chosen.count > last:
        found.append(((*where, "count"), f"is more than the number of epochs: train.epochs is {last}"))
    elif isinstance(chosen, Every) and chosen.interval > last:
        found.append(((*where, "interval"), f"would record nothing: train.epochs is {last}"))
    return found
