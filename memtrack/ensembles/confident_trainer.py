"""A `GroupTrainer` that also measures how confident the networks are of their training samples.

It is a module of its own: a change here trains no network again whose confidences are not wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from memtrack.core.memorization.membership import LogOdds, log_odds
from memtrack.core.memorization.stacked import Group
from memtrack.core.memorization.subsets import Flags
from memtrack.ensembles.group_trainer import GroupTrainer


class ConfidentTrainer(GroupTrainer):
    """The task of a worker; see `GroupTrainer`."""

    def train_and_measure(self, *numbers: int) -> tuple[Flags, Flags, LogOdds]:
        """Train networks together as `train` does. Returns what it returns, and the log odds of the given
        label of each training sample, (K, N)."""
        try:
            return self._measured(numbers)
        except torch.OutOfMemoryError:
            if len(numbers) == 1:
                raise
        middle = len(numbers) // 2
        torch.cuda.empty_cache()
        first = self.train_and_measure(*numbers[:middle])
        second = self.train_and_measure(*numbers[middle:])
        train, test, odds = (np.concatenate(parts) for parts in zip(first, second, strict=True))
        return train, test, odds

    def _measured(self, numbers: Sequence[int]) -> tuple[Flags, Flags, LogOdds]:
        members = np.stack([self.members(number) for number in numbers])
        group = self._training.train(numbers, members)
        train, test = (self._training.correct(group, *split) for split in self._splits)
        return train, test, self._log_odds(group)

    @torch.no_grad()
    def _log_odds(self, group: Group) -> LogOdds:
        """The log odds of the training samples in each network, which are in eval mode."""
        training, (images, labels) = self._training, self._splits[0]
        found = torch.empty(group.size, len(labels), device=self.device)
        for start in range(0, len(labels), self.recipe.batch_size):
            part = slice(start, start + self.recipe.batch_size)
            logits = training._logits(group, training._inputs(images[part]))
            found[:, part] = log_odds(logits, labels[part].to(self.device))
        return found.cpu().numpy()
