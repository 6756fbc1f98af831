"""Samples that a network was not trained on, under several sets of labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memtrack.core.recording.logits import record_logits, record_logits_of_sets
from memtrack.core.recording.trajectory import HeldOutTrajectory, InMemoryTrajectory
from memtrack.core.scores.telling_epochs import telling


def test_each_set_of_labels_is_measured_as_if_it_were_alone() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Dropout(0.5)).train()
    inputs = torch.randn(11, 5)
    labels = np.random.default_rng(0).integers(0, 4, (3, 11))
    cuts = [(part, torch.zeros(len(part))) for part in torch.split(inputs, 4)]
    found = record_logits_of_sets(model, cuts, labels)
    assert model.training
    for own, kept in zip(labels, found, strict=True):
        alone = record_logits(model, [(inputs, torch.from_numpy(own))])
        assert kept.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_allclose(kept[name], values, rtol=1e-5, atol=1e-6)
            assert kept[name].dtype == values.dtype
    with pytest.raises(FloatingPointError):
        record_logits_of_sets(model, [(inputs * torch.nan, torch.zeros(11))], labels)


def test_the_training_samples_decide_which_epochs_are_telling() -> None:
    unit = np.resize([1.0, -1.0], 10)
    own, other = ({epoch: unit * size for epoch, size in sizes.items()} for sizes in (
        {1: 0.1, 2: 0.5, 3: 0.5, 4: 0.1, 5: 0.0}, {1: 0.0, 2: 0.0, 3: 0.1, 4: 0.5, 5: 0.6}
    ))  # fmt: skip
    training = InMemoryTrajectory({"error_norm": own})
    assert telling(HeldOutTrajectory({"error_norm": other}, training)) == telling(training)
    assert telling(InMemoryTrajectory({"error_norm": other})) != telling(training)
