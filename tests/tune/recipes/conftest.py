"""A trained variant of a tiny data set, and searches for its recipe."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prepared_noise import prepare_noise, project_in

from memtrack.config.params import Params
from memtrack.config.yaml_file import SourceFile
from memtrack.data.corruption import write_variant
from memtrack.runs.training import train
from memtrack.tune import study
from memtrack.tune.options import Options
from memtrack.tune.recipes.judge import RecipeOutcome, judge, write_outcome
from memtrack.tune.recipes.search import RecipeSearch, open_recipe_search

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 3, "batch_size": 16, "model": {"kind": "mlp", "width": 8, "depth": 1},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "constant"},
    },
    "record": {"epochs": {"kind": "every"}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip
RECIPE = {
    "loss": ["cross_entropy", "early_learning"], "lr": {"low": 0.01, "high": 0.5}, "epochs": [2, 3],
    "trials": 4, "share": 0.2,
}  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with project_in(folder, empty_store):
        params = Params.model_validate(CONTENT)
        write_variant("noisy", params.variants["noisy"], prepare_noise(120, side=3))
        train(params, "noisy", Path("results/train/noisy"))
    return folder


def place(finished: Path, project: Path, empty_study: Path) -> None:
    """Copy what was trained into a project, with an empty database of studies."""
    for name in ("data", "results"):
        shutil.copytree(finished / name, project / name)
    (project / ".memtrack/tune").mkdir(parents=True)
    shutil.copy(empty_study, project / ".memtrack/tune/study.db")


def open_one(recipe: dict[str, Any] | None = None, **tune: Any) -> RecipeSearch:
    """Open a search in the current folder; some keys of tune.recipe, and of tune, may be others."""
    content = {**CONTENT, "tune": {"pruner": "none", **tune, "recipe": {**RECIPE, **(recipe or {})}}}
    params = Params.model_validate(content)
    overridden = frozenset({"study"} & tune.keys())
    file = SourceFile(Path("params.yaml"), content, {})
    return open_recipe_search(Options(params, params.tune, file, overridden, False, False, recipe=True))


@pytest.fixture
def opened(
    finished: Path, project: Path, empty_study: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RecipeSearch]:
    """Open a search in a project of its own; see `open_one`."""
    place(finished, project, empty_study)
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    return open_one


@dataclass(frozen=True)
class Done:
    """A search of four trials, and its outcome."""

    search: RecipeSearch
    outcome: RecipeOutcome
    folder: Path


@pytest.fixture(scope="session")
def _done(tmp_path_factory: pytest.TempPathFactory, finished: Path, empty_study: Path) -> Done:
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        place(finished, folder, empty_study)
        search = open_one()
        for _ in search.run_trials(time.time() + 1e6):
            pass
        outcome = judge(search)
        assert outcome is not None
        write_outcome(search, outcome)
    return Done(search, outcome, folder)


@pytest.fixture
def done(_done: Done, project: Path, monkeypatch: pytest.MonkeyPatch) -> Done:
    """A finished search, in its folder."""
    monkeypatch.chdir(_done.folder)
    return _done
