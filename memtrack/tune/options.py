"""The options of a search: the command line, the section `tune` of params.yaml, and a search file."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.util import load_yaml_guess_indent

from memtrack.config import params
from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params, tune_problems
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.config.sections.tune import TuneParams
from memtrack.config.validation import validate
from memtrack.config.yaml_file import Loc, SourceFile, read_yaml
from memtrack.core.files import whole_file

OVERRIDES = ("variant", "held_out", "trials", "timeout", "study", "storage", "seed", "workers", "sampler",
             "pruner", "objectives", "standard_error")  # fmt: skip
NOT_FOR_RECIPE = {"held_out", "objectives", "standard_error"}
MAY_BE_NONE = ("variant", "held_out", "study", "storage")
"""Options for which `none` on the command line means null."""


@dataclass(frozen=True)
class Options:
    """All options of a search.

    Attributes:
        tune: the section or the search file, with values from the command line in their place.
        file: the file of these two that is used. overridden: the keys given on the command line.
        recipe: search the recipe. show: run no trial.
    """

    params: Params
    tune: TuneParams
    file: SourceFile
    overridden: frozenset[str]
    repro: bool
    write: bool
    recipe: bool = False
    show: bool = False

    @property
    def trials(self) -> int:
        """The number of finished trials that the study is to have."""
        return self.tune.recipe.trials if self.recipe else self.tune.trials

    def mistake(self, key: str, message: str) -> InputError:
        """An error in a key of `tune` (with a dot: a key in `recipe`), with the place where it was given."""
        if key in self.overridden:
            return InputError([Problem(Path("command line"), None, (key,), message)])
        keys = tuple(key.split("."))
        where = ("tune", *keys) if self.file.path == PARAMS_FILE else keys
        return InputError([Problem(self.file.path, self.file.line(where), where, message)])


def read(argv: list[str] | None) -> Options:
    """Read the command line and the files; `InputError` lists all errors."""
    command = parser()
    given = vars(command.parse_args(argv))
    if given["show"] and not given["recipe"]:
        command.error("--show is for --recipe")
    own = read_yaml(PARAMS_FILE)
    loaded = params.checked(own, tune=True)
    file = read_yaml(given["search"]) if given["search"] else own
    section, tune = file.content.get("tune", {}), loaded.tune

    def problems(found: TuneParams) -> list[tuple[Loc, str]]:
        return tune_problems(found, loaded)

    if given["search"]:
        section, tune = file.content, validate(TuneParams, file, problems)
    overrides = {key: given[key] for key in OVERRIDES if given[key] is not None}
    overrides |= {key: None for key, value in overrides.items() if value == "none" and key in MAY_BE_NONE}
    if given["all_samples"]:
        overrides["standard_error"] = None
    if overrides:
        changed = dict(overrides)
        if given["recipe"]:
            changed |= _for_recipe(changed, section)
        merged = SourceFile(Path("command line"), {**section, **changed}, {})
        tune = validate(TuneParams, merged, problems)
    flags = (given[name] for name in ("repro", "write", "recipe", "show"))
    return Options(loaded, tune, file, frozenset(overrides), *flags)


def _for_recipe(overrides: dict[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """What options on the command line mean with --recipe: its number of trials is in tune.recipe.

    Raises:
        InputError: if one is given that is for the other search.
    """
    if wrong := sorted(overrides.keys() & NOT_FOR_RECIPE):
        text = "has no effect with --recipe: leave it out"
        raise InputError([Problem(Path("command line"), None, (key,), text) for key in wrong])
    trials = overrides.pop("trials", None)
    if trials is None:
        return {}
    return {"recipe": {**(section.get("recipe") or {}), "trials": trials}}


def parser() -> argparse.ArgumentParser:
    """The command line; options that are not given come from the section `tune`."""
    fields = TuneParams.model_fields
    made = argparse.ArgumentParser(
        prog="memtrack tune",
        description="Search the perturbation scale h and the number of probes n that find known corruption "
        "best, or agree best with memorization. The search uses the checkpoints of a training: nothing is "
        "trained again. With --recipe, search instead how to train so that wrong labels are found best: each "
        "trial trains. Options that are not given here come from the section `tune` of params.yaml, whose "
        "keys are explained in memtrack/params.schema.json.",
        epilog="Exit status: 0 done, 1 no trial was run to its end, 2 bad input, 130 interrupted (run the "
        "same command to continue).",
    )

    def option(name: str, kind: Any, text: str, **more: Any) -> None:
        default = fields[name].get_default()
        shown = " ".join(default) if isinstance(default, tuple) else default
        text = f"{text} (default: {'none' if shown is None else shown})"
        names = {int: {"metavar": "N"}, float: {"metavar": "SECONDS"}}
        more = {**names.get(kind, {}), **more}
        made.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text, **more)

    made.add_argument("--search", type=Path, metavar="FILE", help="a YAML file with the keys of `tune`, "
                      "used instead of that section")  # fmt: skip
    option("variant", str, "variant to search on; none: the first with known corruption or memorization")
    option("held_out", str, "variant on which the winner is confirmed; none: half of the samples")
    option("trials", int, "number of finished trials in the study, over all its runs")
    option("timeout", float, "seconds after which no new trial begins")
    option("study", str, "name of the study; none: made from the variant and what is compared")
    option("storage", str, "Optuna's storage, postgresql+psycopg://... or sqlite:///...; none: a SQLite file")
    option("seed", int, "seed of the sampler")
    option("workers", int, "number of processes, which share the cores")
    option("sampler", str, "algorithm that suggests settings", choices=get_args(fields["sampler"].annotation))
    option("pruner", str, "algorithm that stops bad trials", choices=get_args(fields["pruner"].annotation))
    option(
        "objectives",
        str,
        "auroc (of known corruption) or memorization (correlation with it); add cost for a Pareto front",
        nargs="+",
    )
    subset = made.add_mutually_exclusive_group()
    default = fields["standard_error"].get_default()
    text = (
        f"trials see enough samples to bring the standard error of their AUROC to this (default: {default})"
    )
    subset.add_argument("--standard-error", type=float, metavar="SE", help=text)
    subset.add_argument("--all-samples", action="store_true", help="trials see all samples")
    made.add_argument("--recipe", action="store_true", help="search the recipe of the training, on labels "
                      "flipped on purpose (tune.recipe)")  # fmt: skip
    made.add_argument("--show", action="store_true", help="with --recipe: print what the study has found, "
                      "and run no trial")  # fmt: skip
    made.add_argument("--repro", action="store_true", help="first run `dvc repro` for what the search reads")
    made.add_argument("--write", action="store_true", help="write a winner that is better beyond the noise "
                      "to params.yaml")  # fmt: skip
    return made


def pick_variant(options: Options) -> str:
    """The variant to search on: the one that is named, or the first with known corruption (for the objective
    memorization, the first of memorization.variants)."""
    if options.tune.variant is not None:
        return options.tune.variant
    if options.tune.objectives[0] == "memorization":
        if options.params.memorization.variants:
            return options.params.memorization.variants[0]
        text = "names no variant, but the search compares scores with memorization: name one"
        raise options.params.memorization.mistake("variants", message=text)
    for name, variant in options.params.variants.items():
        if variant.kind != "none" and name != options.tune.held_out:
            return name
    text = "no variant has known corruption: add one, for example with kind: symmetric, or name tune.variant"
    raise options.params.mistake("variants", message=text)


def write_params(values: Mapping[Loc, Any]) -> None:
    """Set keys of params.yaml. Order, comments and line ends are kept; missing sections are added."""
    before = PARAMS_FILE.read_bytes().decode()
    content, *indents = load_yaml_guess_indent(before.replace("\r\n", "\n"))
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.sequence_indent, yaml.sequence_dash_offset = (
        indent or least for indent, least in zip(indents, (2, 0), strict=True)
    )
    yaml.representer.add_representer(type(None), _null)
    for loc, value in values.items():
        section = content
        for key in loc[:-1]:
            section = section.setdefault(key, {})
        section[loc[-1]] = value
    written = io.StringIO()
    yaml.dump(content, written)
    after = written.getvalue()
    if 2 * before.count("\r\n") > before.count("\n"):
        after = after.replace("\n", "\r\n")
    if before.startswith("\ufeff"):
        after = "\ufeff" + after.removeprefix("\ufeff")
    with whole_file(PARAMS_FILE) as file:
        file.write(after.encode())


def _null(representer: RoundTripRepresenter, _: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
