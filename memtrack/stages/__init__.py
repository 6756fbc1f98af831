"""The stages of dvc.yaml: one thin module for each, named like the stage."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Collection
from pathlib import Path

# Waiting torch threads should sleep, not spin. Otherwise two trainings on the same cores (dvc queue -j 2)
# slow each other down many times over. This must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from memtrack.config.errors import InputError
from memtrack.config.params import Params, checked
from memtrack.config.pipeline import pipeline_problems
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.config.validation import nearest
from memtrack.config.yaml_file import read_yaml
from memtrack.runs.reads import network_problems
from memtrack.tracking.address import check_stores


def variant_parser(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a stage, which names a variant."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("variant", help="a key under variants: in params.yaml")
    return parser


def load_params() -> Params:
    """The parameters; raises an `InputError` if they, or the stores, do not fit each other or dvc.yaml.

    DVC would report a missing key only when it comes to the stage that reads it.
    """
    file = read_yaml(PARAMS_FILE)
    params = checked(file)
    check_stores(params)
    if os.environ.get("DVC_STAGE"):
        problems = [*pipeline_problems(file, files=False), *network_problems(params, file)]
        if problems:
            raise InputError(problems)
    return params


def load_with_variant(doc: str | None) -> tuple[Params, str]:
    """The parameters and the variant named on the command line."""
    name: str = variant_parser(doc).parse_args().variant
    return load_variant(name), name


def load_variant(name: str) -> Params:
    """The parameters; raises an `InputError` if they have no variant `name`."""
    params = load_params()
    if name not in params.variants:
        hint = nearest(name, params.variants)
        text = f"no variant {name!r}{hint} (there are: {', '.join(params.variants)})"
        raise params.mistake("variants", message=text)
    return params


def keep_only(folder: Path, kept: Collection[str]) -> None:
    """Make the folder of an output, and remove what an earlier run left there, but for files and folders with
    these names. Without any there is an empty list instead, because DVC warns of empty folders, and draws
    other files of a folder of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # other processes of the training may remove it, too
        else:
            path.unlink(missing_ok=True)
    if not kept:
        (folder / "nothing.json").write_text("[]\n")
