"""The results of a search: the winner, judged on samples it was not chosen on, the curve over h, plots."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.study import Study

from memtrack.config.paths import TUNE_RESULTS
from memtrack.core.evaluation.detection import Difference
from memtrack.report import figures
from memtrack.terminal.progress import Progress
from memtrack.tune.evaluator import SettingEvaluator
from memtrack.tune.search import Search
from memtrack.tune.setting import Setting
from memtrack.tune.study import complete, cost_of, finished

SAME = 0.03
"""A trial whose value differs by more from what its setting measures now was not written by a search. Another
machine, or another kind of device, measures a little differently."""


@dataclass(frozen=True)
class Outcome:
    """The winner beside the default.

    Attributes:
        chosen: their AUROC or correlation, and the difference, on the samples the winner was chosen on.
        confirmed: the same on samples that no trial has seen; `held_out` describes them in words.
        looked: how many trials used the samples the winner was chosen on.
        cost, default_cost: of training and recording, in trainings without recording.
    """

    winner: Setting
    default: Setting
    chosen: Difference
    confirmed: Difference
    held_out: str
    looked: int
    cost: float
    default_cost: float

    @property
    def better(self) -> bool:
        """Whether the winner beats the default beyond the noise on samples it was not chosen on."""
        return self.winner != self.default and self.confirmed.low > 0

    @property
    def verdict(self) -> str:
        """The recommendation, in words."""
        if self.winner == self.default:
            return "No setting was better than the one in params.yaml: no change is recommended."
        overfitted = self.confirmed.high < self.chosen.difference
        if self.better:
            less = ", but less than on the samples it was chosen on (it is overfitted)" if overfitted else ""
            return f"The winner is better than params.yaml beyond the noise{less}: a change is recommended."
        if overfitted:
            return (
                f"Overfitted: on {self.held_out} the winner gains less over params.yaml than on the samples "
                "it was chosen on, or nothing. No change is recommended."
            )
        return (
            f"On {self.held_out} the winner is not better than params.yaml beyond the noise: no change is "
            "recommended."
        )


def judge(search: Search) -> Outcome | None:
    """Compare the best trial with the parameters in force, on samples it was chosen on and on others.

    None if no trial was run to its end. Of equally good settings the cheapest wins.

    Raises:
        InputError: if the winner's value in the study is not what its setting measures.
    """
    study, space, options = search.study, search.space, search.options.params.evaluate
    whole = complete(study, space)
    if not whole:
        return None
    best = max(whole, key=lambda trial: (trial.values[0], -trial.user_attrs["cost"]))
    winner, default = space.setting(best.params), space.default

    def compare(evaluator: SettingEvaluator, what: str) -> Difference:
        ours, theirs = evaluator.scores([winner, default], what)
        return evaluator.truth.difference(ours, theirs, options.resampling)

    chosen = compare(search.choosing, "compare the winner with params.yaml")
    if abs(chosen.first - best.values[0]) > SAME:
        text = (
            f"trial {best.number} of {study.study_name!r} has the value {best.values[0]:.4f}, but its "
            f"setting measures {chosen.first:.4f}: choose another name, and the trials are run again"
        )
        raise search.options.mistake("study", text)
    if chosen.difference <= 0:
        winner = default  # no change if the winner is no better
        chosen = compare(search.choosing, "compare the winner with params.yaml")
    confirmed = compare(search.confirming, f"confirm it on {search.plan.where}")
    return Outcome(
        winner, default, chosen, confirmed, search.plan.where, len(finished(study)),
        cost_of(winner, study), cost_of(default, study),
    )  # fmt: skip


def metrics(outcome: Outcome | None, key: str) -> dict[str, float]:
    """The outcome's numbers for MLflow; `key` is the name of the compared number."""
    if outcome is None:
        return {}
    found = {"trials": float(outcome.looked), "cost": outcome.cost, "default_cost": outcome.default_cost}
    for name, judged in (("chosen", outcome.chosen), ("held_out", outcome.confirmed)):
        found |= {f"{name}_{key}": judged.first, f"{name}_{key}_default": judged.second}
        found |= {f"{name}_difference": judged.difference, f"{name}_difference_low": judged.low}
    return found


def curve(search: Search) -> pd.DataFrame:
    """AUROC, or correlation, over h for each number of probes, with the first choice of all other options.

    It has points at the ends, at the powers of ten, half way between these for the fewest probes, and
    wherever a trial was run to its end. The columns are perturbation_scale, probes, and auroc or
    memorization, measured on the samples that the trials see.
    """
    space, evaluator = search.space, search.choosing
    scales, numbers = space.scales, space.tune.probes
    marks = {"1.0": numbers.high, "3.0": numbers.low}
    most = {scale: marks[mark] for scale in scales if (mark := f"{scale:e}"[:3]) in marks}
    most |= {scales[0]: numbers.high, scales[-1]: numbers.high}
    for trial in complete(search.study, space):
        tried = space.setting(trial.params)
        known = most.get(tried.perturbation_scale, 0)
        if tried == space.setting({"perturbation_scale": tried.perturbation_scale, "probes": tried.probes}):
            most[tried.perturbation_scale] = max(known, tried.probes)
    rows = []
    for scale in Progress(sorted(most), "draw the curve over h"):  # one at a time: less is in memory
        probes = range(numbers.low, most[scale] + 1)
        settings = [space.setting({"perturbation_scale": scale, "probes": number}) for number in probes]
        for number, values in zip(probes, evaluator.scores(settings), strict=True):
            rows.append((scale, number, evaluator.truth.value(values)))
    return pd.DataFrame(rows, columns=["perturbation_scale", "probes", evaluator.truth.key])


def study_plots(study: Study, label: str, directory: Path) -> Iterator[Path]:
    """Optuna's own plots that the study has enough trials for; `label` names the searched number."""
    single = len(study.directions) == 1
    first = None if single else lambda trial: trial.values[0]
    drawing = optuna.visualization.matplotlib
    scales = ["perturbation_scale", "probes"]
    plots: dict[str, Callable[[], Any]] = {
        "history": lambda: drawing.plot_optimization_history(study, target=first, target_name=label),
        "slice": lambda: drawing.plot_slice(study, params=scales, target=first, target_name=label),
        "importance": lambda: drawing.plot_param_importances(study, target=first, target_name=label),
        "contour": lambda: drawing.plot_contour(study, params=scales, target=first, target_name=label),
    }
    if single:
        plots["intermediate"] = lambda: drawing.plot_intermediate_values(study)
    else:
        plots["pareto_front"] = lambda: drawing.plot_pareto_front(study, target_names=[label, "cost"])
    for name, draw in plots.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                axes = draw()
                if name == "intermediate":
                    if legend := axes.get_legend():
                        legend.remove()  # it has a line for every trial
                    axes.set(xlabel="checkpoints seen, the latest first", ylabel=label)
            except (ValueError, RuntimeError):  # too few trials, or all are alike
                continue
            path = directory / f"{name}.png"
            figures.save_axes(axes, path)
            yield path


def folder(study: Study) -> Path:
    """The folder with the files of a study; its name is that of the study as far as a file may have it."""
    name = study.study_name
    plain = re.sub(r"[^\w.-]", "_", name).lstrip(".")
    return TUNE_RESULTS / (
        plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    )


def write_outcome(search: Search, outcome: Outcome | None) -> list[Path]:
    """Write the trials and the outcome; returns the paths of the files."""
    directory, study = folder(search.study), search.study
    directory.mkdir(parents=True, exist_ok=True)
    columns = ("number", "value" if len(study.directions) == 1 else "values", "params", "user_attrs",
               "state", "datetime_start", "duration")  # fmt: skip
    study.trials_dataframe(columns).to_csv(directory / "trials.csv", index=False)
    if outcome is None:
        return [directory / "trials.csv"]
    content = {**asdict(outcome), "better": outcome.better, "verdict": outcome.verdict}
    (directory / "outcome.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return [directory / "trials.csv", directory / "outcome.json"]


def write_pictures(search: Search, winner: Setting) -> list[Path]:
    """Draw the curve over h, for which some points are measured, and Optuna's plots; returns their paths."""
    directory, points = folder(search.study), curve(search)
    points.to_csv(directory / "curve.csv", index=False)
    figures.value_over_scale(
        points,
        search.choosing.truth.key,
        search.choosing.truth.title,
        search.space.default.perturbation_scale,
        (winner.perturbation_scale, winner.probes),
        directory / "curve.png",
    )
    return [
        directory / "curve.csv",
        directory / "curve.png",
        *study_plots(search.study, search.choosing.truth.title, directory),
    ]
