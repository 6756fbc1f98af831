"""Section `halves`: which variants have networks trained on one half of their samples."""

from __future__ import annotations

from pydantic import Field

from memtrack.config.sections.base import Section, Seed, VariantNames


class HalvesParams(Section):
    """Networks that are trained on one half of the samples and then on the other one. They give the scores
    `holdout_loss`, `rho`, `confident_learning` and `ssft`."""

    variants: VariantNames = Field((), description="The variants to do this for; []: none.")
    seed: Seed = Field(0, description="Seed of the split into halves.")
    turn_over: bool = Field(
        False,
        description="Also train a network of which each sample trains a half of its own, for the score "
        "`turn_over`.",
    )
