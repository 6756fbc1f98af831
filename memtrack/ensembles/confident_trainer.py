"""A `GroupTrainer` that also measures how confident the networks are of their training samples.

It is a module of its own: a change here trains no network again whose confidences are not wanted.
"""

from __future__ import annotations

import torch

from memtrack.core.memorization.membership import LogOdds, log_odds
from memtrack.core.memorization.stacked import Group
from memtrack.ensembles.group_trainer import GroupTrainer


class ConfidentTrainer(GroupTrainer):
    """The task of a worker; see `GroupTrainer`."""

    @torch.no_grad()
    def _more(self, group: Group) -> tuple[LogOdds]:
        """The log odds of the given label of each training sample, (K, N), by the networks in eval mode."""
        training, (images, labels) = self._training, self._splits[0]
        found = torch.empty(group.size, len(labels), device=self.device)
        for start in range(0, len(labels), self.recipe.batch_size):
            part = slice(start, start + self.recipe.batch_size)
            logits = training._logits(group, training._inputs(images[part]))
            found[:, part] = log_odds(logits, labels[part].to(self.device))
        return (found.cpu().numpy(),)
