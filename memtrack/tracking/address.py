"""Where MLflow keeps the runs; apart from tracking.py because importing mlflow takes seconds."""

from __future__ import annotations

import os

from memtrack.config.paths import project_root
from memtrack.config.sections.tracking import TrackingParams


def tracking_uri(params: TrackingParams) -> str:
    """MLFLOW_TRACKING_URI, or else params.yaml, or else mlflow.db in the project.

    A relative SQLite path is taken from the project, not from the folder that a stage runs in.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or params.uri or "sqlite:///mlflow.db"
    scheme, found, path = uri.partition("sqlite:///")
    if not scheme and found and not path.startswith(("/", ":memory:")):
        return f"sqlite:///{project_root() / path}"
    return uri
