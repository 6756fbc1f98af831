"""run.json: a reference to the MLflow run of a training."""

from __future__ import annotations

from memtrack.config.json_files import StrictModel


class RunReference(StrictModel):
    """run.json: the MLflow run that training opened. Its tag memtrack_run has the value `key`."""

    key: str
    tracking_uri: str
    experiment: str
    variant: str
