"""How surely a network betrays that a sample was in its training set: the likelihood-ratio attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
LogOdds = NDArray[np.float32]
FEW = 64
"""With fewer networks on one of the two sides, all samples share the variances (Carlini et al., 2022)."""
BLOCK = 4096
"""The number of samples that are computed at once."""
FALSE_POSITIVES = 0.001
TARGETS = 32
"""The attack as a whole is judged by so many networks; a privacy score, by all."""
SMALLEST = 1e-12
"""A variance is at least this."""


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """log(p_y / (1 - p_y)) of the given labels (B,), from logits (K, B, classes); (K, B).

    It is computed from the logits, so that it is finite where p_y rounds to 1.

    Source: Carlini et al., IEEE S&P 2022, section IV.C.
    """
    given = torch.nn.functional.one_hot(labels, logits.shape[2]).bool()
    own = logits.gather(2, labels.expand(len(logits), -1)[..., None]).squeeze(2)
    return own - logits.masked_fill(given, -torch.inf).logsumexp(2)


def likelihood_ratios(members: Flags, confidences: LogOdds) -> LogOdds:
    """log N(phi; in) - log N(phi; out) of each network and sample, (K, N): the larger, the more surely the
    network was trained on the sample.

    phi is the network's log odds. "in" is the normal distribution of the log odds of the networks that were
    trained on the sample, "out" that of the others, each without the network that is judged. If one of the
    two sides has fewer than 64 networks, all samples share one variance for each side, that of the deviations
    from the samples' own means. NaN for a sample that has fewer than two networks on a side.

    Args:
        members: which samples each network was trained on, (K, N).
        confidences: the `log_odds` of each network for each sample, (K, N).

    Source: Carlini et al., IEEE S&P 2022, algorithm 1 (online).
    """
    sides = members, ~members
    few = min(int(side.sum(axis=0).min()) for side in sides) < FEW
    shared = [_shared_variance(side, confidences) for side in sides] if few else [None, None]
    found = np.empty(members.shape, dtype=np.float32)
    for part in _blocks(members.shape[1]):
        phi = confidences[:, part].astype(np.float64)
        densities = [
            _log_density(phi, side[:, part], variance) for side, variance in zip(sides, shared, strict=True)
        ]
        found[:, part] = densities[0] - densities[1]
    return found


def lira(members: Flags, ratios: LogOdds) -> Values:
    """The privacy score: the mean of the `likelihood_ratios` (K, N) over the networks that were trained on
    the sample, (N,). It is the evidence, in nats, that such a network gives of its training."""
    count, inside = members.sum(axis=0), np.where(members, ratios, 0).sum(axis=0, dtype=np.float64)
    found: Values = np.where(count > 0, inside / np.maximum(count, 1), np.nan)
    return found


@dataclass(frozen=True)
class Attack:
    """The likelihood-ratio attack on the networks of an estimate.

    Attributes:
        lira: the privacy score of each sample, (N,).
        auroc: of the ratios of the networks that are attacked, for telling members from others.
        true_positives: the share of members that is found with `FALSE_POSITIVES` false alarms.
        side: the number of networks that were trained on a sample, or of those that were not, whichever is
            smaller, on average over the samples.
    """

    lira: Values
    auroc: float
    true_positives: float
    side: float

    @classmethod
    def of(cls, members: Flags, confidences: LogOdds) -> Attack:
        """Attack networks; the arguments are those of `likelihood_ratios`."""
        ratios = likelihood_ratios(members, confidences)
        inside, some = members[:TARGETS], ratios[:TARGETS]
        known = ~np.isnan(some)
        told = inside[known].any() and not inside[known].all()
        area = float(roc_auc_score(inside[known], some[known])) if told else float("nan")
        side = float(min(members.sum(axis=0).mean(), (~members).sum(axis=0).mean()))
        return cls(lira(members, ratios), area, true_positives(inside, some, FALSE_POSITIVES), side)


def true_positives(members: Flags, ratios: LogOdds, false_positives: float) -> float:
    """The share of the pairs of a network and a sample of its training set that the attack finds with this
    share of false alarms.

    Source: Carlini et al., IEEE S&P 2022, section III: an attack is judged where it hardly ever accuses
    wrongly. NaN if no sample has a ratio.
    """
    inside, outside = (ratios[side & ~np.isnan(ratios)] for side in (members, ~members))
    if not len(inside) or not len(outside):
        return float("nan")
    return float((inside > np.quantile(outside, 1 - false_positives)).mean())


def _log_density(phi: Values, side: Flags, shared: float | None) -> Values:
    """The logarithm of the normal density of one side at phi (K, N), up to a constant. A network of the side
    does not count for its own density."""
    count = side.sum(axis=0)
    center = np.where(side, phi, 0).sum(axis=0) / np.maximum(count, 1)
    away = phi - center  # of the sums only those of small numbers are needed
    total, squares = (np.where(side, values, 0).sum(axis=0) for values in (away, away**2))
    left = (count - side).astype(np.float64)
    left[:, count < 2] = np.nan
    mean = (total - side * away) / left
    if shared is None:
        variance = np.maximum((squares - side * away**2) / left - mean**2, SMALLEST)
    else:
        variance = np.full((), max(shared, SMALLEST))
    density: Values = -np.log(variance) / 2 - (away - mean) ** 2 / (2 * variance)
    return density


def _shared_variance(side: Flags, confidences: LogOdds) -> float:
    """The variance of the log odds of one side around each sample's mean."""
    squares = freedom = 0.0
    for part in _blocks(side.shape[1]):
        own, phi = side[:, part], confidences[:, part].astype(np.float64)
        count = own.sum(axis=0)
        mean = np.where(own, phi, 0).sum(axis=0) / np.maximum(count, 1)
        squares += float(np.where(own, (phi - mean) ** 2, 0).sum())
        freedom += float(np.maximum(count - 1, 0).sum())
    return squares / freedom if freedom else 0.0


def _blocks(samples: int) -> Iterator[slice]:
    for start in range(0, samples, BLOCK):
        yield slice(start, start + BLOCK)
