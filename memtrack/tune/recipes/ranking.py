"""How well the AUROC on flips ranks recipes by the AUROC on labels that are known to be wrong.

This is the one module of the search that reads which labels are wrong. It is called once everything is
decided, and for variants whose noise is known alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from memtrack.core.evaluation.detection import auroc
from memtrack.tune.recipes.judge import complete
from memtrack.tune.recipes.search import RecipeSearch
from memtrack.tune.recipes.space import TRIED
from memtrack.tune.recipes.trials import scores_folder, scores_of_trial
from memtrack.tune.report import folder

CHOSEN = "best"
COLUMNS = ["trial", "score", "auroc_flips", "auroc_wrong"]
FEWEST = 3
"""With fewer trials a rank correlation says nothing."""


def ranking(search: RecipeSearch) -> pd.DataFrame:
    """For each trial that this machine has run to its end, and each of its scores: the AUROC on the flips,
    and on the wrong labels among the samples that were not flipped in the first draw."""
    corrupted = search.variant.corrupted
    unflipped = ~search.flips.flags(search.draws[0])
    rows = []
    for trial in complete(search):
        path = scores_folder(search.study) / f"{trial.number}.npz"
        if not path.exists():
            continue
        with np.load(path, allow_pickle=False) as kept:
            scores = {name: kept[name].astype(np.float64) for name in kept.files}
        found = scores_of_trial(trial)
        for name in [*TRIED, CHOSEN]:
            own = str(trial.user_attrs["score"]) if name == CHOSEN else name
            if own in scores:
                wrong = auroc(corrupted[unflipped], scores[own][unflipped])
                rows.append((trial.number, name, found[own], wrong))
    return pd.DataFrame(rows, columns=COLUMNS)


def correlations(ranked: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation over the trials for each score, where there are enough different trials."""
    found = {}
    for name, rows in ranked.groupby("score", sort=False):
        if len(rows) >= FEWEST and min(rows["auroc_flips"].nunique(), rows["auroc_wrong"].nunique()) > 1:
            found[str(name)] = float(spearmanr(rows["auroc_flips"], rows["auroc_wrong"]).statistic)
    return found


def write_ranking(search: RecipeSearch, ranked: pd.DataFrame) -> Path:
    """Write ranking.csv to results/tune/STUDY."""
    path = folder(search.study) / "ranking.csv"
    ranked.to_csv(path, index=False)
    return path
