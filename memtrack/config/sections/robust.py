"""Keys of section `train` for training that resists wrong labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from memtrack.config.sections.base import Rate, Section

Weight = Annotated[float, Field(ge=0, le=1000)]


class CrossEntropy(Section):
    """The cross entropy of the given label."""

    kind: Literal["cross_entropy"]
    label_smoothing: Rate = Field(
        0.0, description="The share of the label's probability that all classes have alike."
    )


class SymmetricCrossEntropy(Section):
    """Cross entropy and reverse cross entropy (Wang et al., ICCV 2019)."""

    kind: Literal["symmetric_cross_entropy"]
    alpha: Weight = Field(0.1, description="The weight of the cross entropy.")
    beta: Weight = Field(1.0, description="The weight of the reverse cross entropy, 4 (1 - p_y).")


class GeneralizedCrossEntropy(Section):
    """(1 - p_y^q) / q (Zhang & Sabuncu, NeurIPS 2018)."""

    kind: Literal["generalized_cross_entropy"]
    q: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="Near 0: the cross entropy. 1: the mean absolute error, which resists most."
    )


class EarlyLearning(Section):
    """Cross entropy, held to the predictions of earlier epochs (ELR; Liu et al., NeurIPS 2020)."""

    kind: Literal["early_learning"]
    weight: Weight = Field(3.0, description="The weight of the regularization, lambda.")
    momentum: Rate = Field(0.7, description="How slowly the mean of the predictions moves, beta.")


LossParams = Annotated[
    CrossEntropy | SymmetricCrossEntropy | GeneralizedCrossEntropy | EarlyLearning,
    Field(discriminator="kind"),
]


class RobustParams(Section):
    """What makes a training resist wrong labels. Each is off by default."""

    loss: LossParams = Field(
        default_factory=lambda: CrossEntropy(kind="cross_entropy"),
        description="What is minimized. What is recorded is always the cross entropy of the given label.",
    )
