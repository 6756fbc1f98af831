"""The search space, the sampler and the pruner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from memtrack.config.params import Params
from memtrack.config.sections.curvature import smallest_scale
from memtrack.config.sections.record import EpochList, First, Geometric, RecordedEpochs
from memtrack.config.sections.tune import TuneParams
from memtrack.config.yaml_file import Loc
from memtrack.tune.setting import Setting

NICE = ("1", "1.5", "2", "3", "5", "7")


class Space:
    """The search space: ranges of h and n, and the options for which the parameters list several choices."""

    def __init__(self, params: Params, tune: TuneParams) -> None:
        self.tune = tune
        low = tune.perturbation_scale.low or smallest_scale(params.record.precision)
        self.scales = nice_scales(low, tune.perturbation_scale.high)
        chosen = tune.epochs or (params.record.epochs,)
        self.epochs = {name_of(choice): params.recorded_epochs(choice) for choice in chosen}
        curvature = params.curvature
        self.default = Setting(
            curvature.perturbation_scale, curvature.probes, curvature.norm, "curvature",
            params.recorded_epochs(),
        )  # fmt: skip

    @property
    def smallest(self) -> float:
        """The smallest h that may be measured."""
        return min(self.scales[0], self.default.perturbation_scale)

    @property
    def all_epochs(self) -> list[int]:
        """Every epoch whose checkpoint may be needed."""
        return sorted(set(self.default.epochs).union(*self.epochs.values()))

    @property
    def fixed(self) -> dict[str, Any]:
        """What must be the same in all trials of a study."""
        choices = {name: list(found) for name, found in self._choices().items()}
        epochs = [list(found) for found in self.epochs.values()]
        return {**choices, "epochs": epochs, "objectives": list(self.tune.objectives)}

    def suggest(self, trial: Trial) -> Setting:
        """The setting that a trial tries."""
        low, high = self.scales[0], self.scales[-1]
        scale = trial.suggest_float("perturbation_scale", low, high, log=True)
        probes = trial.suggest_int("probes", self.tune.probes.low, self.tune.probes.high)
        return self.setting({"perturbation_scale": scale, "probes": probes} | {
            name: trial.suggest_categorical(name, choices)
            for name, choices in self._choices().items() if len(choices) > 1
        })  # fmt: skip

    def setting(self, values: Mapping[str, Any]) -> Setting:
        """The setting for a trial's parameters."""
        chosen = {name: choices[0] for name, choices in self._choices().items()} | dict(values)
        return Setting(**chosen | {"epochs": self.epochs[chosen["epochs"]]})

    def values(self, setting: Setting) -> dict[str, Any] | None:
        """The parameters of a trial that tries `setting`, or None if it is outside the space."""
        named = {epochs: name for name, epochs in self.epochs.items()}
        found = asdict(setting) | {"epochs": named.get(setting.epochs)}
        choices, probes = self._choices(), self.tune.probes
        inside = self.scales[0] <= setting.perturbation_scale <= self.scales[-1]
        if not (inside and probes.low <= setting.probes <= probes.high):
            return None
        if any(found[name] not in allowed for name, allowed in choices.items()):
            return None
        return {name: value for name, value in found.items() if len(choices.get(name, (0, 1))) > 1}

    def keys(self, setting: Setting) -> dict[Loc, Any]:
        """The values of params.yaml to record with `setting`. The score is not a key of params.yaml."""
        found: dict[Loc, Any] = {
            ("curvature", name): getattr(setting, name)
            for name in ("perturbation_scale", "probes", "norm")
            if getattr(setting, name) != getattr(self.default, name)
        }
        if setting.epochs != self.default.epochs:
            chosen = next(
                one for one in self.tune.epochs or () if self.epochs[name_of(one)] == setting.epochs
            )
            found["record", "epochs"] = chosen.model_dump(mode="json")
        return found

    def grid(self) -> dict[str, list[Any]]:
        """All values of each parameter."""
        probes = list(range(self.tune.probes.low, self.tune.probes.high + 1))
        choices = {name: list(found) for name, found in self._choices().items() if len(found) > 1}
        return {"perturbation_scale": list(self.scales), "probes": probes, **choices}

    def _choices(self) -> dict[str, Sequence[str]]:
        return {"norm": self.tune.norm, "score": self.tune.score, "epochs": list(self.epochs)}


def name_of(epochs: RecordedEpochs) -> str:
    """A choice of epochs in words."""
    match epochs:
        case EpochList():
            return f"epochs {', '.join(map(str, epochs.epochs))}"
        case First():
            return f"first {epochs.count}"
        case Geometric():
            return f"geometric {epochs.ratio:g}"
        case _:
            return f"every {epochs.interval}"


def nice_scales(low: float, high: float) -> tuple[float, ...]:
    """Six values per decade (1, 1.5, 2, 3, 5, 7), with `low` and `high` at the ends.

    Samplers only use these values, so that a trial can reuse what another one has measured.
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    inside = {value for power in decades for step in NICE if low < (value := float(f"{step}e{power}")) < high}
    return tuple(sorted({low, high} | inside))


class Rounded(BaseSampler):
    """Wraps a sampler and rounds its perturbation scales to the nearest of `scales` (by their logarithm)."""

    def __init__(self, sampler: BaseSampler, scales: Sequence[float]) -> None:
        self._sampler = sampler
        self._scales = np.asarray(scales)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The same as in the wrapped sampler."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The value of the wrapped sampler, rounded."""
        found = self._sampler.sample_relative(study, trial, search_space)
        return {name: self._round(value, search_space[name]) for name, value in found.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of the wrapped sampler, rounded."""
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._round(value, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """The same as in the wrapped sampler."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """The same as in the wrapped sampler."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """The same as in the wrapped sampler."""
        self._sampler.reseed_rng()

    def _round(self, value: Any, distribution: BaseDistribution) -> Any:
        if not isinstance(distribution, FloatDistribution):
            return value
        return float(self._scales[np.abs(np.log(self._scales / value)).argmin()])


def sampler(space: Space, seed: int) -> BaseSampler:
    """The sampler that the parameters name."""
    match space.tune.sampler:
        case "grid":
            return GridSampler(space.grid(), seed=seed)
        case "gp":
            found: BaseSampler = GPSampler(seed=seed, deterministic_objective=True)
        case "random":
            found = RandomSampler(seed=seed)
        case "qmc":
            found = QMCSampler(seed=seed, scramble=True, warn_asynchronous_seeding=False)
        case "tpe":
            found = TPESampler(seed=seed)
    return Rounded(found, space.scales)


def pruner(tune: TuneParams) -> BasePruner:
    """The pruner that the parameters name.

    `NopPruner` with two objectives, or with several choices of epochs, because then the same step of two
    trials is not the same checkpoint.
    """
    if tune.pruner == "none" or len(tune.objectives) > 1 or len(tune.epochs or ()) > 1:
        return NopPruner()
    return MedianPruner() if tune.pruner == "median" else HyperbandPruner(min_resource=2)
