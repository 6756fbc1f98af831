"""The URI of the MLflow store; a separate module because importing mlflow takes seconds."""

from __future__ import annotations

import os

from memtrack.config.paths import project_root
from memtrack.config.sections.tracking import TrackingParams


def tracking_uri(params: TrackingParams) -> str:
    """The URI from MLFLOW_TRACKING_URI, else from params.yaml, else mlflow.db in the project.

    A relative SQLite path is relative to the project, not to the folder that a stage runs in.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or params.uri or "sqlite:///mlflow.db"
    scheme, found, path = uri.partition("sqlite:///")
    if not scheme and found and not path.startswith(("/", ":memory:")):
        return f"sqlite:///{project_root() / path}"
    return uri
