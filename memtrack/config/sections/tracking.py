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
        "MLFLOW_TRACKING_URI takes precedence. User and password, if there are any, are used but neither shown "
        "nor written; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD keep them out of this file.",
    )
    experiment: Annotated[Name, Field(max_length=500)] = Field(
        "memtrack",
        description="The experiment in MLflow. The environment variable MLFLOW_EXPERIMENT_NAME takes precedence.",
    )
