"""Section `memorization`: many networks, each trained on a random share of the samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from memtrack.config.sections.base import InputPath, Section, Seed, StandardError, VariantName, VariantNames
from memtrack.config.sections.train import RecipeParams


class MemorizationParams(Section):
    """Feldman & Zhang's memorization: many networks, each trained on a random share of the samples."""

    variants: VariantNames = Field((), description="The variants to estimate memorization for; []: none.")
    models: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        1000, description="Number of networks. If it is raised later, the networks trained so far are kept."
    )
    standard_error: StandardError | None = Field(
        None, description="Stop at fewer networks once the median over samples is this small; null: never."
    )
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7, description="Share of the samples that each network is trained on."
    )
    seed: Seed = Field(0, description="The random draws of network k depend on (seed, k).")
    recipe: RecipeParams | None = Field(
        None, description="The network and its training; null: those of `train`, without augmentation."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of the forward passes."
    )
    privacy: bool = Field(
        False,
        description="Also keep how sure each network is of each training sample (4 bytes), and compute the "
        "privacy score `lira` from it.",
    )
    published: dict[VariantName, InputPath] = Field(
        {},
        description="For a variant, a file with memorization that others have estimated, in the format that "
        "Feldman and Zhang publish for CIFAR-100 and ImageNet (npz: tr_mem, tr_labels, and tr_filenames for "
        "image files).",
    )
