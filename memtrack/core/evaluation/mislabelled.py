"""From labels that were flipped on purpose to the probability that a given label is wrong.

A network is trained once more with some labels flipped. How the flips look there, and how the other samples
look, is known without a clean label; a logistic regression learns the difference and is applied to the
training on the given labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from memtrack.core.evaluation.detection import auroc

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
FOLDS, PENALTY = 5, 0.1
"""Cross-fitting, and the inverse strength of the penalty (`C` of scikit-learn) on the weights."""
RESAMPLES, LEVEL = 50, 0.95
LARGEST = 1 - 1e-9
"""The largest share whose likelihood is computed: at 1 it may be 0."""
CUT = 0.5
"""Samples with a higher probability are taken to be mislabelled: more right than wrong calls are expected."""


@dataclass(frozen=True)
class FlippedTraining:
    """A training with flipped labels: the features of its samples (N, K), which labels were flipped (N,), and
    which might have been (N,)."""

    features: Values
    flipped: Flags
    trusted: Flags


@dataclass(frozen=True)
class Mislabelled:
    """What was learned from the flips.

    Attributes:
        suspicion: larger is more suspect, (N,). probability: that the given label is wrong, (N,).
        weights: of each standardized feature, the mean over the trainings (K,).
        auroc: how well the learned score tells flipped from trusted labels, by weights that other folds gave.
        aurocs: the same of each feature alone, (K,).
        wrong: the estimated number of wrong labels. low, high: its interval.
    """

    suspicion: Values
    probability: Values
    weights: Values
    auroc: float
    aurocs: Values
    wrong: float
    low: float
    high: float

    @property
    def called(self) -> Flags:
        """Which samples are taken to be mislabelled, (N,)."""
        return self.probability > CUT

    @property
    def expected_precision(self) -> float | None:
        """The expected share of wrong labels among the samples that are taken to be mislabelled; None if
        there are none."""
        return float(self.probability[self.called].mean()) if self.called.any() else None

    @property
    def expected_recall(self) -> float | None:
        """The expected share of all wrong labels that are among them; None if none is expected."""
        total = float(self.probability.sum())
        return float(self.probability[self.called].sum()) / total if total else None


def learned(features: Values, trainings: Sequence[FlippedTraining], *, seed: int = 0) -> Mislabelled:
    """Learn from trainings with flipped labels which labels of the plain training are wrong.

    Each training with flips has a classifier of its own, of flipped against other trusted labels. Its odds
    are calibrated by Platt's method, and under these odds the share of wrong labels among the samples that
    were not flipped is the most likely one. The classifiers' odds in the plain training are averaged, and
    shifted so that its probabilities have this share as their mean.

    The interval of the number of wrong labels covers 95% of the resamples of four such shares: those of the
    training with flips and of the plain one, whose networks are not the same, each calibrated with Platt's
    targets and with 0 and 1. No resample of labels of which none looks wrong has a wrong one. So where the
    interval begins at 0, it ends no earlier than where the likelihood of the share falls below 1/20 of the
    largest one: at 3 / N if each label is surely right (the rule of three), later if the odds say less.

    Args:
        features: of the plain training, (N, K).

    Source: for the calibration Platt, Advances in Large Margin Classifiers, 1999, section 2.2; for the share
    of wrong labels Saerens, Latinne & Decaestecker, Neural Computation 2002, section 2.2.

    Raises:
        ValueError: if a training has fewer flipped, or fewer other trusted samples, than there are folds.
    """
    learners = [_Learner(training, features, seed) for training in trainings]
    suspicion = np.mean([learner.plain for learner in learners], axis=0)
    share = float(np.mean([learner.share for learner in learners]))
    probability = _with_mean(suspicion, share)
    shares = np.array([learner.shares(seed) for learner in learners])  # (trainings, resamples, 4)
    tails = (1 - LEVEL) / 2
    low, high = np.quantile(shares.mean(axis=0), [tails, 1 - tails], axis=0)
    count = len(features)
    highest = float(high.max())
    if low.min() == 0:
        highest = max(highest, float(np.mean([learner.highest_share for learner in learners])))
    return Mislabelled(
        suspicion,
        probability,
        weights=np.mean([learner.weights for learner in learners], axis=0),
        auroc=float(np.mean([learner.auroc for learner in learners])),
        aurocs=np.mean([learner.aurocs for learner in learners], axis=0),
        wrong=float(probability.sum()),
        low=min(float(low.min()) * count, float(probability.sum())),
        high=max(highest * count, float(probability.sum())),
    )


def check_flips(flipped: Flags, trusted: Flags) -> None:
    """`ValueError` if there are too few flipped labels, or other trusted ones, to learn from; both (N,)."""
    if min(flipped.sum(), (trusted & ~flipped).sum()) < FOLDS:
        raise ValueError(f"there are fewer than {FOLDS} flipped labels, or other trusted ones")


class _Learner:
    """The classifier of one training with flips.

    Attributes:
        plain: the calibrated log-odds of the samples in the plain training, at equal numbers of flips and
            others, (N,). share: the share of wrong labels among the samples that were not flipped.
            highest_share: the largest one that they and those in the plain training do not speak against.
    """

    def __init__(self, training: FlippedTraining, features: Values, seed: int) -> None:
        check_flips(training.flipped, training.trusted)
        rows = np.flatnonzero(training.trusted | training.flipped)
        flags = training.flipped[rows]
        mean = training.features.mean(axis=0)
        spread = training.features.std(axis=0)
        inputs = _standardized(training.features, mean, spread)
        folded = np.zeros(len(rows))
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        for fitted, left in folds.split(rows, flags):
            classifier = _classifier().fit(inputs[rows[fitted]], flags[fitted])
            folded[left] = classifier.decision_function(inputs[rows[left]])
        classifier = _classifier().fit(inputs[rows], flags)
        self.weights: Values = classifier.coef_[0]
        self.auroc = auroc(flags, folded)
        self.aurocs = np.array([auroc(flags, inputs[rows, column]) for column in range(inputs.shape[1])])
        self._flags, self._folded = flags, folded
        scores = classifier.decision_function(inputs)
        scores[rows] = folded
        self._scores = scores[~training.flipped]
        self._plain = classifier.decision_function(_standardized(features, mean, spread))
        calibrated = _Calibration(flags, folded)
        self.plain = calibrated(self._plain)
        self.share = _share(calibrated(self._scores))
        self.highest_share = max(_highest_share(odds) for odds in (self.plain, calibrated(self._scores)))

    def shares(self, seed: int) -> list[list[float]]:
        """The four shares of wrong labels, for resamples of the samples."""
        draw = np.random.default_rng(seed)
        flipped, other = np.flatnonzero(self._flags), np.flatnonzero(~self._flags)
        found = []
        for _ in range(RESAMPLES):
            rows = np.concatenate([draw.choice(flipped, len(flipped)), draw.choice(other, len(other))])
            drawn = [draw.choice(scores, len(scores)) for scores in (self._scores, self._plain)]
            calibrations = [
                _Calibration(self._flags[rows], self._folded[rows], smooth=smooth) for smooth in (True, False)
            ]
            found.append([_share(calibrated(scores)) for calibrated in calibrations for scores in drawn])
        return found


def _standardized(features: Values, mean: Values, spread: Values) -> Values:
    return (features - mean) / np.where(spread > 0, spread, 1)


def _classifier() -> LogisticRegression:
    return LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000)


class _Calibration:
    """Platt's method: from scores to log-odds at equal numbers of flips and others. His targets, a little off
    0 and 1, keep the odds from exploding where no flip scores below another sample; `smooth` takes them."""

    def __init__(self, flags: Flags, scores: Values, *, smooth: bool = True) -> None:
        counts = np.bincount(flags, minlength=2)
        targets = np.where(flags, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
        if not smooth:
            targets = flags.astype(float)
        equal = len(flags) / 2 / counts[flags.astype(int)]
        self._fit = LogisticRegression(C=1e3, max_iter=1000).fit(
            np.concatenate([scores, scores])[:, None],
            np.repeat([True, False], len(scores)),
            sample_weight=np.concatenate([equal * targets, equal * (1 - targets)]),
        )

    def __call__(self, scores: Values) -> Values:
        return cast(Values, self._fit.decision_function(scores[:, None]))


def _share(odds: Values) -> float:
    """The most likely share of wrong labels, given the samples' log-odds at equal numbers.

    It is where EM ends: the likelihood is concave, and this is the zero of its slope, or an end of [0, 1].
    """
    ratios = np.exp(np.clip(odds, -50, 50))

    def slope(share: float) -> float:
        return float(((ratios - 1) / (1 - share + share * ratios)).mean())

    if slope(0) <= 0:
        return 0.0
    return 1.0 if slope(1) >= 0 else float(brentq(slope, 0, 1, xtol=1e-9))


def _highest_share(odds: Values) -> float:
    """The largest share of wrong labels whose likelihood, as in `_share`, is at least 1/20 of the largest."""
    ratios = np.exp(np.clip(odds, -50, 50))

    def support(share: float) -> float:
        return float(np.log(1 - share + share * ratios).sum())

    best = _share(odds)
    least = support(best) + np.log(1 - LEVEL)
    if support(LARGEST) >= least:
        return 1.0
    return float(brentq(lambda share: support(share) - least, min(best, LARGEST), LARGEST, xtol=1e-9))


def _with_mean(odds: Values, share: float) -> Values:
    """The probabilities of log-odds, shifted so that their mean is `share`."""
    inside = min(max(share, 1e-9), 1 - 1e-9)
    ends = logit(inside) - odds.max() - 1, logit(inside) - odds.min() + 1
    shift = brentq(lambda found: float(expit(odds + found).mean()) - inside, *ends)
    return cast(Values, expit(odds + shift))
