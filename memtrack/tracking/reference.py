"""run.json: which MLflow run a training opened."""

from __future__ import annotations

from memtrack.config.json_files import StrictModel


class RunReference(StrictModel):
    """run.json: the MLflow run that training opened. The run carries `key` in the tag memtrack_run."""

    key: str
    tracking_uri: str
    experiment: str
    variant: str
