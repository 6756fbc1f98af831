"""Scores whose ranks are averaged over several trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memtrack.core.scores import from_trajectory, suspicion  # noqa: F401  (they register what is averaged)
from memtrack.core.scores.registry import SCORES, Need, Values, score

PREFIX = "averaged_"
AVERAGED = ("suspicion", "csl", "aum", "el2n", "inconfidence", "curvature")
"""The scores that are averaged."""


def _averaged(name: str) -> Callable[[Mapping[str, Values]], Values]:
    def formula(mean_ranks: Mapping[str, Values]) -> Values:
        return mean_ranks[name]

    formula.__name__ = f"{PREFIX}{name}"
    formula.__doc__ = f"""The mean rank of a sample by `{name}` in several trainings, 1 for the smallest.

    Source: our own. The trainings differ in their seed, as in deep ensembles (Lakshminarayanan et al.,
    NeurIPS 2017), or in any other part of section `train`.
    """
    return formula


for _name in AVERAGED:
    score(
        title=f"{SCORES[_name].title}, averaged",
        needs=(Need.TRAININGS,),
        cost="the trainings that section averaged names",
        by_default=False,
    )(_averaged(_name))
