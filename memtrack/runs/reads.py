"""The files that a network is made from, and whether DVC watches them. It does not import torch."""

from __future__ import annotations

from pathlib import Path

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.config.paths import input_path
from memtrack.config.pipeline import unwatched
from memtrack.config.sections.train import ModelParams, Pretrainable
from memtrack.config.yaml_file import SourceFile
from memtrack.runs.own_code import own_code


def network_problems(params: Params, source: SourceFile) -> list[Problem]:
    """The files that the networks of `params` need and that are not there, or that no stage depends on."""
    stages, others = ("train", "repeat", "averaged", "halves"), ("memorization", "utility")
    found: list[Problem] = []
    if params.suspects.pretrained is not None:
        found = _problems(params.suspects.pretrained, source, ("suspects", "evaluate"))
    for changes in params.averaged.trainings if params.averaged.variants else ():
        if changes.model is not None:
            found += _problems(changes.model, source, ("averaged",))
    if params.memorization.recipe is None:
        return [*found, *_problems(params.train.model, source, (*stages, *others))]
    found += _problems(params.train.model, source, stages)
    return [*found, *_problems(params.memorization.recipe.model, source, others)]


def _problems(chosen: ModelParams, source: SourceFile, stages: tuple[str, ...]) -> list[Problem]:
    files: dict[str, list[Path]] = {}
    try:
        code = own_code(chosen)
        if code is not None:
            files["make"] = [path.relative_to(Path.cwd()) for path in code.files]
        if isinstance(chosen, Pretrainable) and chosen.weights_from_file:
            path = input_path(str(chosen.weights))
            if not path.is_file():
                raise chosen.mistake("weights", message=f"{path}: no such file")
            files["weights"] = [Path(str(chosen.weights))]
    except InputError as error:
        return list(error.problems)
    modules = {f"memtrack.stages.{stage}": stage for stage in stages}
    problems: list[Problem] = []
    for key, paths in files.items():
        forgotten = {path: unwatched(source, modules, path) for path in paths}
        names = [str(path) for path, forgetful in forgotten.items() if forgetful]
        where = [
            stage for module, stage in modules.items() if any(module in each for each in forgotten.values())
        ]
        if names:
            text = (
                f"dvc.yaml does not watch {', '.join(names)}, so a change would go unnoticed: put it into "
                f"networks/, or add it to the `deps` of {', '.join(where)}"
            )
            problems += chosen.mistake(key, message=text).problems
    return problems
