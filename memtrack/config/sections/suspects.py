"""Section `suspects`: which variants are trained once more, with labels flipped on purpose."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from memtrack.config.sections.base import Section, Seed, Share, VariantNames
from memtrack.config.sections.train import ModelParams


class SuspectsParams(Section):
    """Trainings with labels flipped on purpose: they choose what `suspicion` is, and give probabilities."""

    variants: VariantNames = Field((), description="The variants to do this for; []: none.")
    share: Share = Field(0.1, description="The share of the samples whose labels are flipped.")
    trusted: Share = Field(
        0.7,
        description="Labels are flipped among this share of the samples, the least suspect ones: a flip of a "
        "wrong label could make it right.",
    )
    draws: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="The number of trainings, each with other flips."
    )
    seed: Seed = Field(0, description="Seed of the flips.")
    pretrained: ModelParams | None = Field(
        None,
        description="A network with pretrained weights, such as train.model may be. It is not trained: its "
        "features say which samples are neighbours, for `neighbours_pretrained`. null: none.",
    )

    @field_validator("pretrained")
    @classmethod
    def _weights_are_named(cls, chosen: ModelParams | None) -> ModelParams | None:
        if chosen is not None and getattr(chosen, "weights", None) is None:
            raise ValueError("should be a network with weights (kind torchvision, timm or python)")
        return chosen

    @model_validator(mode="after")
    def _some_trusted_labels_stay(self) -> SuspectsParams:
        if self.share >= self.trusted:
            raise ValueError("share should be below trusted: the other trusted labels stay as they are")
        return self
