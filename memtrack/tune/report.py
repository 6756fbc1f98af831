"""What a search found: the winner, judged on what it was not chosen on, the curve over h, the plots."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Outcome:
    """The winner beside the default.

    Attributes:
        chosen: their AUROC or correlation, and its difference, on what the winner was chosen on.
        confirmed: the same on what no trial has seen, which `held_out` says in words.
        looked: how many trials looked at the former.
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
        """Whether the winner beats the default beyond the noise on what it was not chosen on."""
        return self.winner != self.default and self.confirmed.low > 0

    @property
    def verdict(self) -> str:
        """What to do, in a sentence."""
        if self.winner == self.default:
            return "No setting was better than the one in params.yaml: no change is recommended."
        overfitted = self.confirmed.high < self.chosen.difference
        if self.better:
            less = ", though by less than on what it was chosen on (it is overfitted)" if overfitted else ""
            return f"The winner is better than params.yaml beyond the noise{less}: a change is recommended."
        if overfitted:
            return (
                f"Overfitted: on {self.held_out} the winner gains less over params.yaml than on what it was "
                "chosen on, if anything. No change is recommended."
            )
        return (
            f"On {self.held_out} the winner is not better than params.yaml beyond the noise: no change is "
            "recommended."
        )


def judge(search: Search) -> Outcome | None:
    """The best trial beside the parameters in force, on what it was chosen on and on what it was not.

    None where no trial was run to its end. Of equally good settings the cheapest wins.
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
    if chosen.difference <= 0:
        winner = default  # where both are as good nothing has to change
        chosen = compare(search.choosing, "compare the winner with params.yaml")
    confirmed = compare(search.confirming, f"confirm it on {search.plan.where}")
    return Outcome(
        winner, default, chosen, confirmed, search.plan.where, len(finished(study)),
        cost_of(winner, study), cost_of(default, study),
    )  # fmt: skip


def metrics(outcome: Outcome | None, key: str) -> dict[str, float]:
    """The outcome's numbers for MLflow; `key`: what the judged number is called."""
    if outcome is None:
        return {}
    found = {"trials": float(outcome.looked), "cost": outcome.cost, "default_cost": outcome.default_cost}
    for name, judged in (("chosen", outcome.chosen), ("held_out", outcome.confirmed)):
        found |= {f"{name}_{key}": judged.first, f"{name}_{key}_default": judged.second}
        found |= {f"{name}_difference": judged.difference, f"{name}_difference_low": judged.low}
    return found


def curve(search: Search) -> pd.DataFrame:
    """AUROC, or correlation, over h for each number of probes, with the first choices of the rest.

    At the ends and at the powers of ten, with the fewest probes also half way between these, and wherever
    a trial was run to its end. Columns perturbation_scale, probes, auroc or memorization; on the samples that
    the trials see.
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


def study_plots(study: Study, label: str, there: Path) -> Iterator[Path]:
    """Optuna's own plots, those that the study has enough trials for; `label`: of what is searched."""
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
                        legend.remove()  # a line of it for every trial
                    axes.set(xlabel="checkpoints seen, the latest first", ylabel=label)
            except (ValueError, RuntimeError):  # too few trials, or all alike
                continue
            path = there / f"{name}.png"
            figures.save_axes(axes, path)
            yield path


def folder(study: Study) -> Path:
    """Where the files of a study are."""
    return TUNE_RESULTS / re.sub(r"[^\w.-]", "_", study.study_name)


def write_outcome(search: Search, outcome: Outcome | None) -> list[Path]:
    """The trials and the outcome; the paths of the files."""
    there, study = folder(search.study), search.study
    there.mkdir(parents=True, exist_ok=True)
    columns = ("number", "value" if len(study.directions) == 1 else "values", "params", "user_attrs",
               "state", "datetime_start", "duration")  # fmt: skip
    study.trials_dataframe(columns).to_csv(there / "trials.csv", index=False)
    if outcome is None:
        return [there / "trials.csv"]
    content = {**asdict(outcome), "better": outcome.better, "verdict": outcome.verdict}
    (there / "outcome.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return [there / "trials.csv", there / "outcome.json"]


def write_pictures(search: Search, winner: Setting) -> list[Path]:
    """The curve over h, for which some points are measured, and Optuna's plots; the paths of the files."""
    there, points = folder(search.study), curve(search)
    points.to_csv(there / "curve.csv", index=False)
    figures.value_over_scale(
        points,
        search.choosing.truth.key,
        search.choosing.truth.title,
        search.space.default.perturbation_scale,
        (winner.perturbation_scale, winner.probes),
        there / "curve.png",
    )
    return [
        there / "curve.csv",
        there / "curve.png",
        *study_plots(search.study, search.choosing.truth.title, there),
    ]
