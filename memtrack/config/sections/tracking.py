"""Section `tracking`: where MLflow keeps the runs."""

from __future__ import annotations

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Name, Section


class TrackingParams(Section):
    """Where MLflow keeps the runs."""

    uri: Name | None = Field(
        None,
        description="A tracking server or store; null: mlflow.db in the project. The environment variable "
        "MLFLOW_TRACKING_URI takes precedence.",
    )
    experiment: Name = "memtrack"
