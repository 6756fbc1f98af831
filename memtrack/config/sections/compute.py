"""Section `compute`: how the machine is used."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Name, Section


class ComputeParams(Section):
    """How the machine is used. It changes results by rounding at most."""

    processes: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        1,
        description="Processes of this machine that train and record the network of `train` together, each "
        "with its own GPU or its share of the cores; null: one for each GPU.",
    )
    image_cache: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        20,
        description="GB of decoded images that are kept in .memtrack/images, so that image files are decoded "
        "once; more images are decoded whenever they are read. 0: none are kept.",
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Worker processes of memorization and utility; null: one for each core, or one with a "
        "GPU. Not used with Ray.",
    )
    together: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None,
        description="Networks trained together; null: the fastest number, found by a short measurement; on a "
        "GPU it fits into the memory.",
    )
    ray: Name | None = Field(
        None,
        description="The address of a Ray cluster (auto, HOST:PORT); null: this machine. There is one worker "
        "for each GPU with train.device: cuda, one for each core with cpu; with auto, the device of this "
        "machine decides.",
    )

    @property
    def image_cache_bytes(self) -> float:
        """`image_cache` in bytes."""
        return self.image_cache * 1e9
