"""Section `memorization`: many networks, each trained on a random share of the samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from memtrack.config.sections.base import InputPath, Positive, Section, Seed, VariantName, VariantNames
from memtrack.config.sections.train import RecipeParams


class MemorizationParams(Section):
    """Memorization by Feldman & Zhang: many networks, each trained on a random share of the samples."""

    variants: VariantNames = Field((), description="The variants it is estimated for; []: none.")
    models: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        1000, description="Networks. More can be asked for later: those that are there stay."
    )
    standard_error: Positive | None = Field(
        None, description="Stop at fewer networks, once the median over samples is this small; null: never."
    )
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7, description="Of the samples that each network is trained on."
    )
    seed: Seed = Field(0, description="Network number k is drawn from (seed, k).")
    recipe: RecipeParams | None = Field(
        None, description="The network and its training; null: those of `train`, without augmentation."
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of the forward passes.")
    published: dict[VariantName, InputPath] = Field(
        {},
        description="For a variant a file with the memorization that others have estimated, as Feldman and "
        "Zhang publish it for CIFAR-100 and ImageNet (npz: tr_mem, tr_labels, for files tr_filenames).",
    )
