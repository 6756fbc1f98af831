"""Section `layers`: where a network keeps what it has memorized."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from memtrack.config.sections.base import Choices, Section, VariantName
from memtrack.config.sections.evaluate import ScoreName


class LayersOfVariant(Section):
    """Which samples of a variant count as memorized, and how much of the network is pruned."""

    score: ScoreName = Field(
        "curvature", description="The tenth of the samples with the highest score counts as memorized."
    )
    pruned: Choices[Annotated[float, Field(gt=0, lt=1)]] = Field(
        (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
        description="The shares of the smallest weights that are set to zero.",
    )
    linear: Annotated[int, Field(ge=20, le=10**6)] | None = Field(
        None,
        description="Estimate how much a last layer alone memorizes, with so many linear classifiers on the "
        "features of the network, and as many on those of each of two networks that were trained on half of "
        "the samples: one more training. null: off.",
    )


class LayersParams(Section):
    """The trained network loses its layers one by one, or its small weights: which samples does it forget?"""

    variants: dict[VariantName, LayersOfVariant] = Field(
        default_factory=dict, description="The variants to do this for; {}: none."
    )

    def of(self, name: str) -> LayersOfVariant:
        """What is done for the variant `name`; raises an `InputError` if nothing is."""
        if name not in self.variants:
            raise self.mistake("variants", message=f"{name} is not among them: add it")
        return self.variants[name]
