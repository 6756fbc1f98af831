"""run.json: a reference to the MLflow run of a training."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from memtrack.config.json_files import StrictModel
from memtrack.tracking.address import address


class RunReference(StrictModel):
    """run.json: the MLflow run that training opened. Its tag memtrack_run has the value `key`.

    Attributes:
        tracking_uri: the address of the store, which has no credentials.
    """

    key: str
    tracking_uri: Annotated[str, AfterValidator(address)]
    experiment: str
    variant: str
