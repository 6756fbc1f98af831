"""What is searched: the values that trials may take, by the samplers themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest

from memtrack.tune.evaluator import Setting
from memtrack.tune.space import Space, nice_scales, sampler

Make = Callable[..., Space]
CHOICES: dict[str, Any] = {
    "norm": ["plain", "squared"],
    "score": ["curvature", "curvature_log"],
    "epochs": [{"kind": "every", "interval": 2}, {"kind": "geometric", "ratio": 2.0}],
}


def test_scales_are_round_numbers_between_the_ends() -> None:
    assert nice_scales(0.01, 0.2) == (0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
    assert nice_scales(0.012, 0.021) == (0.012, 0.015, 0.02, 0.021)
    assert len(nice_scales(1e-4, 1.0)) == 25


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc", "grid"])
def test_every_sampler_takes_round_scales_alone(name: str, space: Make) -> None:
    searched = space(
        sampler=name, probes={"low": 1, "high": 3}, perturbation_scale={"low": 0.01, "high": 0.1}
    )
    study = optuna.create_study(sampler=sampler(searched, seed=1))
    found = []

    def objective(trial: optuna.Trial) -> float:
        setting = searched.suggest(trial)
        found.append(setting)
        return abs(setting.perturbation_scale - 0.03) + setting.probes

    study.optimize(objective, n_trials=21)
    assert {setting.perturbation_scale for setting in found} <= set(searched.scales)
    assert len({setting.perturbation_scale for setting in found}) >= 3
    # what Optuna keeps is what was tried
    assert [searched.setting(trial.params) for trial in study.trials] == found
    if name == "grid":
        assert len(set(found)) == 7 * 3


def test_the_same_seed_makes_the_same_trials(space: Make) -> None:
    def params(seed: int) -> list[dict[str, Any]]:
        searched = space(**CHOICES)
        study = optuna.create_study(sampler=sampler(searched, seed))
        study.optimize(lambda trial: searched.suggest(trial).perturbation_scale, n_trials=20)
        return [trial.params for trial in study.trials]

    assert params(1) == params(1) != params(2)


def test_choices_of_one_are_no_parameters(space: Make) -> None:
    searched = space(score=["curvature_log"])
    study = optuna.create_study()
    setting = searched.suggest(study.ask({}))
    assert set(study.trials[0].params) == {"perturbation_scale", "probes"} == set(searched.grid())
    assert setting.score == "curvature_log"
    assert setting.epochs == (2, 4, 6, 8, 10, 12)


def test_parameters_and_settings_mean_each_other(space: Make) -> None:
    searched = space(**CHOICES)
    setting = Setting(0.03, 2, "squared", "curvature_log", (1, 2, 4, 8, 12))
    values = searched.values(setting)
    assert values == {"perturbation_scale": 0.03, "probes": 2, "norm": "squared", "score": "curvature_log",
                      "epochs": "geometric 2"}  # fmt: skip
    assert searched.setting(values) == setting


def test_the_parameters_in_force_are_tried_if_they_are_in_the_space(space: Make) -> None:
    inside = space()
    assert inside.values(inside.default) == {"perturbation_scale": 0.03, "probes": 2}
    for outside in (
        space(probes={"low": 3, "high": 5}),
        space(perturbation_scale={"low": 0.1}),
        space(norm=["squared"]),
        space(score=["curvature_log"]),
        space(epochs=[{"kind": "first", "count": 3}]),
    ):
        assert outside.values(outside.default) is None


def test_keys_of_params_yaml_say_what_differs(space: Make) -> None:
    searched = space(**CHOICES)
    keys = searched.keys(searched.setting({"perturbation_scale": 0.1, "probes": 1}))
    assert keys == {("curvature", "perturbation_scale"): 0.1, ("curvature", "probes"): 1}
    keys = searched.keys(Setting(0.1, 1, "squared", "curvature", (1, 2, 4, 8, 12)))
    assert keys["curvature", "norm"] == "squared"
    assert keys["record", "epochs"] == {"kind": "geometric", "ratio": 2.0}
