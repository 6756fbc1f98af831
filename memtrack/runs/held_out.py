"""Who is mislabelled in the test split: scores from the networks of a training, which has not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.core.evaluation.mislabelled import FOLDS, FlippedTraining, Mislabelled, learned
from memtrack.core.labels.flips import flipped
from memtrack.core.recording.logits import record_logits_of_sets
from memtrack.core.recording.trajectory import HeldOutTrajectory
from memtrack.core.scores import Need, compute, ranks
from memtrack.core.scores.registry import Values
from memtrack.core.scores.suspicion import SUSPICION, kinds, suggested_labels, suspicion_features
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.suspects import LEAST
from memtrack.runs.trained import TrainedRun
from memtrack.runs.trained_networks import NearestToTests, TrainedNetworks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor, nn

AT_TEST_TIME = (
    SUSPICION,
    "csl",
    "aum",
    "el2n",
    "confidence",
    "inconfidence",
    "neighbours",
    "neighbours_pixels",
    "vog",
    "critical_sample_ratio",
)
"""The scores that mean something for a sample that no network was trained on, and need no input gradient of
the recording."""
KNOWN = 0.9
"""The share of the trusted test labels that the last network must predict: if it knows the classes less well,
hard samples look like wrong ones, and the probabilities say nothing."""
DRAWS = 3
"""Test labels are flipped so many times; nothing is trained for it."""


@dataclass(frozen=True)
class SplitScores:
    """What is known of the T test samples.

    Attributes:
        ids: their ids. images: where they are, as in data/prepared/samples.csv. labels: int64 (T,).
        trajectory: what the networks make of them in the recorded epochs.
        neighbours: the rows of the nearest training samples, by the features that vote, (T, K).
        scores: each (T,); `suspicion` is the first. suggested: the class suggested in place of each label, -1
            if there is none, and share: its share of the votes, both (T,). kinds: see `suspicion.kinds`.
        learned: probabilities that the labels are wrong; None if nothing was learned.
    """

    ids: list[str]
    images: list[str]
    labels: NDArray[np.int64]
    trajectory: HeldOutTrajectory
    neighbours: NDArray[np.int64]
    scores: dict[str, Values]
    suggested: NDArray[np.int64]
    share: Values
    kinds: NDArray[np.object_]
    learned: Mislabelled | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predictions of the last recorded network, int64 (T,)."""
        return self.trajectory.last("predicted").astype(np.int64)


def score_tests(
    params: Params,
    data: PreparedData,
    variant: VariantData,
    run: TrainedRun,
    names: Sequence[str],
    nearest: int,
    epoch: int,
) -> SplitScores:
    """Score the test samples by the networks of a training.

    It takes one pass of each recorded network over them, and a second one if probabilities are learned.

    Args:
        run: made with `tests`.
        names: the scores that are wanted of the training samples; those in `AT_TEST_TIME` are computed.
        nearest: how many neighbours are kept, by the features after `epoch`.
    """
    held = data.split("test")
    labels = data.codes(held["label"])
    networks: TrainedNetworks = run.evidence([SUSPICION])[Need.NETWORKS]
    (trajectory,) = _recorded(run, networks, labels[None])
    neighbours = run.nearest_to_tests(labels)
    classes = len(variant.summary.classes)
    evidence: dict[Need, Any] = {
        Need.EPOCHS: trajectory,
        Need.NEIGHBOURS: neighbours,
        Need.NETWORKS: _NetworksOnTests(networks, labels, held["id"].tolist()),
    }
    wanted = [name for name in dict.fromkeys([SUSPICION, *names]) if name in AT_TEST_TIME]
    scores = {name: compute(name, evidence) for name in wanted}
    suggested, share = suggested_labels(trajectory, neighbours, classes=classes)
    found = None
    if variant.name in params.suspects.variants:
        found = _learned(params, run, networks, neighbours, trajectory, scores[SUSPICION], classes)
    return SplitScores(
        held["id"].tolist(),
        held["image"].tolist(),
        labels,
        trajectory,
        neighbours.nearest(nearest, epoch),
        scores,
        suggested,
        share,
        kinds(trajectory, neighbours, classes=classes),
        found,
    )


def _learned(
    params: Params,
    run: TrainedRun,
    networks: TrainedNetworks,
    neighbours: NearestToTests,
    trajectory: HeldOutTrajectory,
    suspicion: Values,
    classes: int,
) -> Mislabelled | None:
    """What test labels that are flipped on purpose tell of the others; None if they are too few, or cannot be
    told from the others, or if the network does not know the classes."""
    options, labels = params.suspects, neighbours.labels
    count = round(options.share * len(labels))
    if min(count, round(options.trusted * len(labels)) - count) < FOLDS:
        return None
    among = ranks(-suspicion) <= options.trusted * len(labels)
    predicted = [values.astype(np.int64) for values in trajectory.each("predicted")]
    if (predicted[-1] == labels)[among].mean() < KNOWN:
        return None
    draws = [
        flipped(labels, predicted, among, classes=classes, share=options.share, seed=[options.seed, draw, 1])
        for draw in range(DRAWS)
    ]  # stage suspects draws from the seed and the number of the draw alone
    trainings = [
        FlippedTraining(_features(one, neighbours.relabelled(flips)), flips != labels, among)
        for one, flips in zip(_recorded(run, networks, np.stack(draws)), draws, strict=True)
    ]
    found = learned(_features(trajectory, neighbours), trainings, seed=options.seed)
    return found if found.auroc >= LEAST else None


def _features(trajectory: HeldOutTrajectory, neighbours: NearestToTests) -> Values:
    return np.stack(list(suspicion_features(trajectory, neighbours).values()), axis=1)


def _recorded(
    run: TrainedRun, networks: TrainedNetworks, labels: NDArray[np.int64]
) -> list[HeldOutTrajectory]:
    """What the recorded networks make of the test samples under several sets of labels, (K, T)."""
    arrays: list[dict[str, dict[int, NDArray[np.generic]]]] = [{} for _ in labels]
    for epoch in run.trajectory.epochs:
        sets = record_logits_of_sets(networks.model(epoch), networks.test_batches(), labels)
        for kept, found in zip(arrays, sets, strict=True):
            for name, values in found.items():
                kept.setdefault(name, {})[epoch] = values
    return [HeldOutTrajectory(one, run.trajectory) for one in arrays]


class _NetworksOnTests:
    """The networks, and the test samples in place of the training samples; see
    `memtrack.core.scores.registry.RecordedNetworks`."""

    def __init__(self, networks: TrainedNetworks, labels: NDArray[np.int64], ids: list[str]) -> None:
        self.labels, self.ids = labels, ids
        self.shape, self.epochs = networks.shape, networks.epochs
        self._networks = networks

    def models(self, epochs: Sequence[int] | None = None) -> Iterator[nn.Module]:
        """See `TrainedNetworks.models`."""
        return self._networks.models(epochs)

    def learning_rate(self, epoch: int) -> float:
        """See `TrainedNetworks.learning_rate`."""
        return self._networks.learning_rate(epoch)

    def batches(self, rows: NDArray[np.int64]) -> Iterable[tuple[Tensor, Tensor]]:
        """The test samples `rows` in batches."""
        return self._networks.test_batches(rows)


def probabilities(found: SplitScores) -> Mapping[str, Values]:
    """The columns with probabilities, as in scores.csv; empty if nothing was learned."""
    if found.learned is None:
        return {}
    probability = found.learned.probability
    return {"mislabelled": probability, "suggested_probability": probability * found.share}
