"""Section `compute`: where networks are trained."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Name, Section


class ComputeParams(Section):
    """Where networks are trained. It changes results by rounding at most."""

    processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        1,
        description="Processes that train and record the network of `train` together on this machine, each "
        "with its own GPU or its share of the cores; null: one for each GPU.",
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Worker processes for the networks of memorization and utility; null: one for each core, "
        "or one with a GPU. Not used with Ray.",
    )
    together: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Networks trained together; null: the fastest number, found by a short measurement."
    )
    ray: Name | None = Field(
        None,
        description="The address of a Ray cluster (auto, HOST:PORT); null: this machine. There is one worker "
        "for each GPU with train.device: cuda, one for each core with cpu; with auto, the device of this "
        "machine decides.",
    )
