"""What a score is, and all scores by name.

To add a score, write a function under `@score` and a test. In formulas, y is the given label, p the softmax
probabilities, f the logits, and T the number of recorded epochs t. Scores see recorded epochs only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn  # importing takes seconds, and checking a name does not need it

Values = NDArray[np.float64]


class Need(Enum):
    """What a score is computed from."""

    EPOCHS = "epochs"
    """The recorded numbers of every recorded epoch: a `memtrack.core.recording.trajectory.EpochArrays`."""
    NETWORKS = "networks"
    """The networks after every recorded epoch and the training samples: a `RecordedNetworks`."""
    NEIGHBOURS = "neighbours"
    """The nearest neighbours of every sample: a `Neighbourhoods`."""
    PRETRAINED = "neighbours in a pretrained network"
    """The nearest neighbours of every sample by the features of a network that others have trained: a
    `Neighbourhoods`, whose epochs do not matter."""
    TRAININGS = "several trainings"
    """The mean rank of every sample by a score in several trainings, 1 for the smallest value, for each score
    of `memtrack.core.scores.several_trainings.AVERAGED`: a dictionary of arrays (N,)."""
    HALVES = "halves"
    """What networks say that are trained on one half of the samples: a
    `memtrack.core.scores.halves.Halves`."""
    TURN_OVER = "turn-over dropout"
    """The loss of each sample in the half of a network that was never trained on it, minus that in the half
    that was, (N,)."""


class RecordedNetworks(Protocol):
    """The networks of one training, for measurements that were not recorded.

    Attributes:
        labels: the given labels, int64 (N,). ids: the ids of the samples, each once.
        shape: shape of an input, (channels, height, width).
        epochs: the recorded epochs, ascending.
    """

    labels: NDArray[np.int64]
    ids: Sequence[str]
    shape: tuple[int, ...]
    epochs: tuple[int, ...]

    def models(self, epochs: Sequence[int] | None = None) -> Iterator[nn.Module]:
        """The network after each of these recorded epochs, or after all, in order. It may be the same object
        with other weights."""
        ...

    def learning_rate(self, epoch: int) -> float:
        """The learning rate at the start of an epoch."""
        ...

    def batches(self, rows: NDArray[np.int64]) -> Iterable[tuple[Tensor, Tensor]]:
        """Batches (normalized inputs (B, ...), given labels int64 (B,)) of the samples `rows`, in this order,
        on the device of the networks."""
        ...


class Neighbourhoods(Protocol):
    """The nearest neighbours of samples among the training samples.

    Attributes:
        labels: the given labels of the samples, int64 (N,).
        among: those of the training samples. It is `labels` itself unless the samples are others.
    """

    labels: NDArray[np.int64]
    among: NDArray[np.int64]

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the `count` nearest other training samples of each sample, (N, count) or fewer columns;
        -1 where there are fewer.

        Args:
            epoch: compare the features of the network after this recorded epoch; None: compare pixels.
        """
        ...


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        name: the name in parameters, files and metrics. title: the name in pictures.
        needs: what `formula` takes, in the order of its arguments.
        formula: returns one number per sample, float64 (N,).
        cost: the cost beyond training and recording, in words; empty if there is none.
        by_default: whether it is computed unless `evaluate.scores` names others. Scores of halves, and of
            several trainings, are, too, where there are such networks.
    """

    name: str
    title: str
    needs: tuple[Need, ...]
    formula: Callable[..., Values]
    cost: str
    by_default: bool

    @property
    def windowed(self) -> bool:
        """Whether the score can be computed over a window of epochs."""
        return self.needs == (Need.EPOCHS,)


SCORES: dict[str, Score] = {}
"""All scores by name."""
RENAMED = {
    "cumulative_loss": "csl",
    "mean_margin": "aum",
    "gradient_norm": "input_gradient_norm",
    "variance_of_gradients": "vog",
}
"""The score names of earlier versions, and their present names."""
WINDOW = re.compile(r"(?P<name>\w+)_epochs_(?P<first>\d+)_(?P<last>\d+)")
"""A score over a window of epochs: curvature_epochs_1_10 is `curvature` over the recorded epochs 1 to 10."""


def score(
    *,
    title: str | None = None,
    needs: tuple[Need, ...] = (Need.EPOCHS,),
    cost: str = "",
    by_default: bool = True,
) -> Callable[[Callable[..., Values]], Callable[..., Values]]:
    """Register a score under its function's name; see `Score`."""

    def register(formula: Callable[..., Values]) -> Callable[..., Values]:
        name = formula.__name__
        SCORES[name] = Score(name, title or name.replace("_", " "), needs, formula, cost, by_default)
        return formula

    return register


def known(name: str) -> bool:
    """Whether this is the name of a score, or of a score over a window of epochs."""
    window = WINDOW.fullmatch(name)
    if window is None:
        return name in SCORES
    found = SCORES.get(window["name"])
    return found is not None and found.windowed and 0 < int(window["first"]) <= int(window["last"])


def needs(name: str) -> tuple[Need, ...]:
    """What the score with this name is computed from. The name must be `known`."""
    window = WINDOW.fullmatch(name)
    return SCORES[name if window is None else window["name"]].needs


def title(name: str) -> str:
    """The title of a score, for people to read."""
    window = WINDOW.fullmatch(name)
    if window is None:
        return SCORES[name].title if name in SCORES else name.replace("_", " ")
    return f"{title(window['name'])}, epochs {window['first']} to {window['last']}"


def compute(name: str, evidence: Mapping[Need, Any]) -> Values:
    """Compute the score with this name, (N,). The name must be `known`.

    Args:
        evidence: for each need of the score, the object that fulfils it.

    Raises:
        LookupError: if a need of the score is missing, or no epoch of its window was recorded.
    """
    window = WINDOW.fullmatch(name)
    if window is not None:
        name = window["name"]
        chosen = evidence[Need.EPOCHS].between(int(window["first"]), int(window["last"]))
        evidence = {Need.EPOCHS: chosen}
    wanted = SCORES[name]
    if missing := [need.value for need in wanted.needs if need not in evidence]:
        raise LookupError(f"{name} needs {', '.join(missing)}, which are missing")
    if Need.EPOCHS in wanted.needs and not evidence[Need.EPOCHS].epochs:
        raise LookupError("no epoch of the window was recorded" if window else "no epoch was recorded")
    return wanted.formula(*(evidence[need] for need in wanted.needs))


def ranks(values: Values) -> NDArray[np.int64]:
    """The rank of each sample (N,), 1 for the largest score. Ties are in id order."""
    order = np.argsort(-values, kind="stable")
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(1, len(values) + 1)
    return found
