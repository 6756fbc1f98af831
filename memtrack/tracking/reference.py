"""run.json: a reference to the MLflow run of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel, read_json
from memtrack.tracking.address import address

RUN = "run.json"


class RunReference(StrictModel):
    """run.json: the MLflow run that training opened. Its tag memtrack_run has the value `key`.

    Attributes:
        tracking_uri: the address of the store, which has no credentials.
    """

    key: str
    tracking_uri: Annotated[str, AfterValidator(address)]
    experiment: str
    variant: str


def read_reference(training: Path, remedy: str) -> RunReference:
    """The reference in the results of a training.

    Args:
        remedy: what makes these results anew, such as "run `dvc repro train@noisy`".

    Raises:
        InputError: if it is missing or damaged.
    """
    path = training / RUN
    try:
        return read_json(RunReference, path)
    except InputError:
        raise InputError([Problem(path, message=f"is missing or damaged: {remedy}")]) from None
