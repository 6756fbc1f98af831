"""Section `tracking`: where MLflow keeps the runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Name, Section


class TrackingParams(Section):
    """Where MLflow keeps the runs."""

    uri: Name | None = Field(
        None,
        description="A tracking server or store; null: mlflow.db in the project. The environment variable "
        "MLFLOW_TRACKING_URI takes precedence. A user and a password in it are neither shown nor written; "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD keep them out of this file too.",
    )
    experiment: Annotated[Name, Field(max_length=500)] = Field(
        "memtrack",
        description="MLflow's experiment. The environment variable MLFLOW_EXPERIMENT_NAME takes precedence.",
    )
