"""Suspicion, the label that is suggested, and the epochs that they are taken from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import Need, compute, neighbours
from memtrack.core.scores.suspicion import kinds, suggested_labels, suspicion_features
from memtrack.core.scores.telling_epochs import telling

N, CLASSES = 40, 4
DRAW = np.random.default_rng(0)
SPREADS = {1: 0.1, 2: 0.2, 3: 0.5, 4: 0.6, 5: 0.55, 6: 0.2, 7: 0.1, 8: 0.0}
"""How much the samples differ by epoch; the means of three are .15, .27, .43, .55, .45, .28, .1 and .05."""


def spread(by: dict[int, float]) -> InMemoryTrajectory:
    unit = np.resize([1.0, -1.0], N)
    return InMemoryTrajectory({"error_norm": {epoch: 0.7 + size * unit for epoch, size in by.items()}})


class Found:
    """`Neighbourhoods` with drawn rows."""

    labels = among = DRAW.integers(0, CLASSES, N)
    rows = DRAW.integers(-1, N, (N, 30))

    def nearest(self, count: int, epoch: int | None = None) -> np.ndarray:
        return np.roll(self.rows, epoch or 0, axis=0)[:, :count]


VOTERS = int(np.median(np.bincount(Found.labels))) // 2
"""Half of the median class."""


def recorded() -> InMemoryTrajectory:
    epochs = range(2, 14, 2)
    arrays = {
        name: {epoch: DRAW.random(N) for epoch in epochs}
        for name in ("error_norm", "loss", "margin", "probability", "curvature")
    }
    arrays["predicted"] = {epoch: DRAW.integers(0, CLASSES, N) for epoch in epochs}
    return InMemoryTrajectory(arrays)


def test_telling_epochs_end_where_the_samples_no_longer_differ() -> None:
    assert telling(spread(SPREADS)) == (4, (4,))
    rising = {epoch: epoch / 10 for epoch in range(1, 21)}  # the last two epochs have a mean of 1.95
    assert telling(spread(rising)) == (20, (18, 19, 20))
    falling = {epoch: 0.8 ** (epoch - 1) for epoch in range(1, 9)}
    assert telling(spread(falling)) == (2, (1,))  # .9, .81, ...
    flat = dict.fromkeys(range(1, 21), 0.4)
    assert telling(spread(flat)) == (20, (1, 4, 7, 10))
    assert telling(spread({7: 0.4})) == (7, (7,))


def test_suspicion_is_the_weighted_mean_of_ranks() -> None:
    trajectory, found = recorded(), Found()
    last, chosen = telling(trajectory)
    early = np.mean([trajectory.load("error_norm", e) for e in trajectory.epochs if e <= last], axis=0)

    def share(rows: np.ndarray) -> np.ndarray:
        values = []
        for sample, row in enumerate(rows):
            labels = [found.labels[other] for other in row if other >= 0]
            values.append(np.mean([label != found.labels[sample] for label in labels]))
        return np.array(values)

    by_features = np.mean([share(found.nearest(VOTERS, epoch)) for epoch in chosen], axis=0)
    parts = [rankdata(early), rankdata(by_features), rankdata(share(found.nearest(VOTERS)))]
    expected = np.average(parts, axis=0, weights=[1, 1, 0.5]) / N
    values = compute("suspicion", {Need.EPOCHS: trajectory, Need.NEIGHBOURS: found})
    assert values == pytest.approx(expected)


def test_of_many_samples_the_first_telling_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MANY", N - 1)
    found, flat = Found(), spread(dict.fromkeys(range(1, 21), 0.4))
    values = compute("neighbours", {Need.EPOCHS: flat, Need.NEIGHBOURS: found})
    assert values.tolist() == neighbours.disagreement(found, found.nearest(VOTERS, 1)).tolist()


def test_the_suggested_label_has_the_most_votes() -> None:
    trajectory, found = recorded(), Found()
    labels, shares = suggested_labels(trajectory, found, classes=CLASSES)
    rows = found.nearest(VOTERS, telling(trajectory).early[-1])
    for sample in range(N):
        votes = np.zeros(CLASSES)
        for epoch in trajectory.epochs:
            votes[trajectory.load("predicted", epoch)[sample]] += 0.5 / len(trajectory.epochs)
        near = [found.labels[other] for other in rows[sample] if other >= 0]
        for label in near:
            votes[label] += 0.5 / len(near)
        votes[found.labels[sample]] = 0
        assert labels[sample] != found.labels[sample]
        assert votes[labels[sample]] == pytest.approx(votes.max())
        assert shares[sample] == pytest.approx(votes.max() / votes.sum())


def test_what_a_suspect_seems_to_be() -> None:
    trajectory, found = recorded(), Found()
    rows, last = found.nearest(VOTERS, telling(trajectory).early[-1]), telling(trajectory).last
    until = [epoch for epoch in trajectory.epochs if epoch <= last]
    for sample, kind in enumerate(kinds(trajectory, found, classes=CLASSES)):
        near = [found.labels[other] for other in rows[sample] if other >= 0]
        predicted = [trajectory.load("predicted", epoch)[sample] for epoch in until]
        votes = [
            np.mean([one == label for one in predicted]) + np.mean([one == label for one in near])
            for label in range(CLASSES)
        ]
        given = votes.pop(found.labels[sample])
        usual = given >= 0.9 * (given + sum(votes)) - 1e-9
        assert kind == ("mislabelled" if max(votes) > given + 1e-9 else "" if usual else "rare")


def test_nobody_votes_for_another_label() -> None:
    """All predictions and neighbours agree with the given labels, which are all the same."""
    found = Found()
    found.labels = found.among = np.zeros(N, dtype=np.int64)
    trajectory = recorded()
    trajectory.arrays = {**trajectory.arrays, "predicted": dict.fromkeys(trajectory.epochs, found.labels)}
    labels, shares = suggested_labels(trajectory, found, classes=CLASSES)
    assert (labels == -1).all()
    assert (shares == 0).all()
    assert (kinds(trajectory, found, classes=CLASSES) == "").all()


def test_each_feature_is_one_number_a_sample() -> None:
    features = suspicion_features(recorded(), Found())
    assert all(values.shape == (N,) and np.isfinite(values).all() for values in features.values())
