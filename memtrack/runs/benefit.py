"""Trains on the given and on the cleaned labels of a variant, to see what cleaning is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.params import Params
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.fingerprint import training_fingerprint
from memtrack.runs.fitting import Fitting
from memtrack.runs.networks import check_memory, chosen_device

GIVEN, CLEANED, RANDOM, TRUE = "given", "cleaned", "random", "true"
"""The labels as they were; after cleaning; as they were, without as many random samples as cleaning changed;
and, where they are known, the right ones of all samples."""


def changed_samples(
    variant: VariantData, cleaned: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> int:
    """How many samples cleaning has given another label (N,) or weight (N,), or removed."""
    before = 1.0 if variant.weights is None else variant.weights
    other = False if weights is None else weights != before
    return int(((cleaned != variant.given) | other).sum())


def label_sets(
    variant: VariantData,
    cleaned: NDArray[np.int64],
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> dict[str, VariantData]:
    """The sets of labels to train on.

    Args:
        cleaned: int64 (N,), -1 for a sample that is removed. seed: draws those that are left out at random.
        weights: those after cleaning, (N,); None: as they were.
    """
    every = np.arange(len(cleaned))
    stay = np.flatnonzero(cleaned >= 0)
    changed = changed_samples(variant, cleaned, weights)
    drawn = np.random.default_rng([seed, 1]).permutation(len(cleaned))[changed:]  # noise is drawn by the seed
    left = np.sort(drawn)
    found = {
        GIVEN: variant,
        CLEANED: variant.only(stay, cleaned[stay], None if weights is None else weights[stay]),
        RANDOM: variant.only(left, variant.given[left]),
    }
    if variant.flags_known:
        found[TRUE] = variant.only(every, variant.clean, np.ones(len(every)))
    return found


class BenefitTrainings:
    """The test accuracy of networks by set of labels and seed, kept in a file from one run to the next.

    The file has a line of JSON for each training that has ended: its fingerprint and its test accuracy.
    """

    def __init__(self, params: Params, data: PreparedData, file: Path) -> None:
        self._params, self._data, self._file = params, data, file
        self._device = chosen_device(params.train)
        check_memory(params.train, data.info, data.info.train, self._device, robust=params.train)
        self._known: dict[str, float] = {}
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                found = json.loads(line)
                self._known[str(found["training"])] = float(found["test_accuracy"])
            except (ValueError, TypeError, LookupError):
                print(f"{file}: a line is damaged; its network is trained again")

    def run(self, seed: int, variant: VariantData) -> Iterator[float | None]:
        """Train; yields once an epoch, at the end the test accuracy. A training that is known yields only it.

        Raises:
            FloatingPointError: if the training diverges.
        """
        params = self._params.with_seed(seed)
        key = training_fingerprint(params, self._data, variant, self._device).key
        if key not in self._known:
            fitting = Fitting(params, self._data, variant, self._device)
            for epoch in range(1, params.train.epochs + 1):
                accuracy = fitting.run_epoch(epoch).test_accuracy
                if epoch < params.train.epochs:
                    yield None
            self._known[key] = accuracy
            with self._file.open("a") as file:
                file.write(json.dumps({"training": key, "test_accuracy": accuracy}) + "\n")
        yield self._known[key]
