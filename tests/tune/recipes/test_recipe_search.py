"""The search for the recipe: what its trials measure, what they do not see, and going on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.metrics import roc_auc_score

from memtrack.config.errors import InputError
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.data.variants import VariantData
from memtrack.tune.recipes.flipped_training import FlippedTraining
from memtrack.tune.recipes.judge import OUTCOME, judge
from memtrack.tune.recipes.ranking import correlations, ranking
from memtrack.tune.recipes.search import RecipeSearch
from memtrack.tune.recipes.space import TRIED
from memtrack.tune.recipes.trials import recipe_of, scores_folder, scores_of_trial
from memtrack.tune.report import folder

Open = Callable[..., RecipeSearch]
FOREVER = time.time() + 1e6
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def searched(search: RecipeSearch) -> RecipeSearch:
    for _ in search.run_trials(FOREVER):
        pass
    return search


def found(search: RecipeSearch) -> list[tuple[Any, ...]]:
    """What the trials of a search found."""
    trials = search.study.get_trials()
    return [(trial.params, trial.value, trial.state, scores_of_trial(trial)) for trial in trials]


def test_a_trial_is_the_auroc_of_the_flips_among_the_trusted(done: Any) -> None:
    search = done.search
    given, trusted = search.variant.given, search.flips.trusted
    [labels] = search.draws
    flipped = labels != given
    assert flipped.sum() == round(0.2 * len(given))
    assert not flipped[~trusted].any()
    trials = search.study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    for trial in trials:
        kept = np.load(scores_folder(search.study) / f"{trial.number}.npz")
        assert set(kept.files) == set(TRIED)
        expected = {name: roc_auc_score(flipped[trusted], kept[name][trusted]) for name in TRIED}
        assert scores_of_trial(trial) == pytest.approx(expected, abs=1e-3)  # scores are kept as float32
        assert trial.value == pytest.approx(max(expected.values()), abs=1e-3)


def test_the_first_trial_is_params_yaml_and_cheap_ones_follow(done: Any) -> None:
    space = done.search.space
    first, *others = (recipe_of(trial, space) for trial in done.search.study.get_trials()[:3])
    assert first == space.default == {"loss": "cross_entropy", "epochs": 3, "lr": 0.05}
    assert others == [{"loss": loss, "epochs": 2, "lr": 0.05} for loss in ("cross_entropy", "early_learning")]


def test_params_yaml_is_tried_outside_the_ranges_too(opened: Open) -> None:
    search = searched(opened({"lr": {"low": 0.2, "high": 0.5}, "trials": 1}))
    [trial] = search.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert recipe_of(trial, search.space)["lr"] == 0.05


def test_no_trial_and_no_verdict_sees_a_clean_label(
    done: Any, opened: Open, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other clean labels, and so other flags of corruption, change nothing."""
    plain = VariantData.__init__

    def permuted(self: VariantData, *arguments: Any) -> None:
        plain(self, *arguments)
        self.clean = np.random.default_rng(1).permutation(self.clean)

    monkeypatch.setattr(VariantData, "__init__", permuted)
    monkeypatch.chdir(project)
    search = searched(opened())
    assert (search.variant.clean != done.search.variant.clean).any()
    assert search.key == done.search.key
    assert found(search) == found(done.search)
    assert judge(search) == done.outcome


def test_what_is_known_to_be_wrong_is_compared_afterwards(done: Any) -> None:
    search = done.search
    ranked = ranking(search)
    corrupted, [labels] = search.variant.corrupted, search.draws
    kept = np.load(scores_folder(search.study) / "1.npz")
    left = labels == search.variant.given
    [row] = ranked[(ranked["trial"] == 1) & (ranked["score"] == "csl")].itertuples()
    assert row.auroc_wrong == pytest.approx(roc_auc_score(corrupted[left], kept["csl"][left]))
    rows = ranked[ranked["score"] == "csl"]
    ranks = rows[["auroc_flips", "auroc_wrong"]].rank()
    assert correlations(ranked)["csl"] == pytest.approx(np.corrcoef(ranks.T)[0, 1])


def test_the_best_recipe_is_confirmed_on_other_flips(done: Any) -> None:
    search, outcome = done.search, done.outcome
    given = search.variant.given
    assert ((search.unseen != given) != (search.draws[0] != given)).any()
    assert outcome.chosen == max(trial.value for trial in search.study.get_trials())
    assert outcome.winner != search.space.default  # or choose another seed for this test
    training = FlippedTraining(search.space.trained(outcome.winner), search.flips, search.unseen)
    list(training.run(None))
    among = search.flips.trusted
    flags = (search.unseen != given)[among]
    for compared, score in ((outcome.confirmed, outcome.score), (outcome.suspicion, SUSPICION)):
        assert compared.first == pytest.approx(roc_auc_score(flags, training.scores[score][among]))


def test_a_verdict_is_not_trained_for_twice(done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlippedTraining, "run", None)
    assert judge(done.search, train=False) == done.outcome
    (folder(done.search.study) / OUTCOME).rename("elsewhere")
    try:
        assert judge(done.search, train=False) is None
    finally:
        Path("elsewhere").rename(folder(done.search.study) / OUTCOME)


def test_a_trial_that_is_cut_off_is_run_again_and_no_other(
    done: Any, opened: Open, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ran = FlippedTraining.run, []

    def interrupted(self: FlippedTraining, what: str | None) -> Any:
        ran.append(what)
        for part in plain(self, what):
            yield part
            if len(ran) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(FlippedTraining, "run", interrupted)
    monkeypatch.chdir(project)
    cut = opened({"trials": 3})
    with pytest.raises(KeyboardInterrupt):
        searched(cut)
    assert len(found(cut)) == 4
    searched(opened({"trials": 3}))
    assert ran == ["trial 0", "trial 1", "trial 2", "trial 3"]
    first, failed, third, again = found(cut)
    assert failed[1] is None
    assert [first, again, third] == found(done.search)[:3]


def test_a_training_that_diverges_is_left_out(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = FlippedTraining.run

    def diverging(self: FlippedTraining, what: str | None) -> Any:
        if self._params.train.epochs == 2:
            raise FloatingPointError("the training has diverged")
        yield from plain(self, what)

    monkeypatch.setattr(FlippedTraining, "run", diverging)
    search = searched(opened({"trials": 2}))
    states = [(trial.state.name, trial.user_attrs.get("failed")) for trial in search.study.get_trials()[:2]]
    assert states == [("COMPLETE", None), ("PRUNED", "the training has diverged")]


@pytest.mark.parametrize(
    ("recipe", "tune", "said"),
    [
        (
            {"share": 0.01},
            {},
            r"tune.recipe.share: noisy has too few samples for 0.01: there are fewer than 5 flipped labels",
        ),
        ({}, {"sampler": "grid"}, r"tune.sampler: grid is for h and n"),
    ],
)
def test_what_does_not_fit_is_said(
    opened: Open, recipe: dict[str, Any], tune: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        opened(recipe, **tune)


def test_trials_of_another_search_are_not_compared(opened: Open) -> None:
    opened(study="one")
    with pytest.raises(InputError, match=r"the study 'one' .* was made with other labels, flips"):
        opened({"share": 0.3}, study="one")


def test_several_draws_are_averaged(opened: Open) -> None:
    search = searched(opened({"draws": 2, "trials": 1}))
    [trial] = search.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    each = []
    for labels in search.draws:
        training = FlippedTraining(search.space.trained(search.space.default), search.flips, labels)
        list(training.run(None))
        each.append(search.flips.auroc(labels, training.scores["csl"]))
    assert each[0] != each[1]
    assert scores_of_trial(trial)["csl"] == pytest.approx(np.mean(each))
