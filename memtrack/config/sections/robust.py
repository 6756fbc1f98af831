"""Keys of section `train` for training that resists wrong labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memtrack.config.sections.base import Epochs, Fraction, Rate, Section, Share

Weight = Annotated[float, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1000)]


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

    @model_validator(mode="after")
    def _something_is_minimized(self) -> SymmetricCrossEntropy:
        if self.alpha == self.beta == 0:
            raise ValueError("alpha or beta should be above 0")
        return self


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


class JoCoR(Section):
    """Two networks that agree, trained on the samples with small losses (Wei et al., CVPR 2020)."""

    kind: Literal["jocor"]
    weight: Fraction = Field(
        0.5, description="The weight of their agreement, lambda; that of the cross entropies is 1 - lambda."
    )
    forget_rate: Rate = Field(
        0.2, description="The share of each batch that is left out; about the share of wrong labels."
    )
    warmup: Epochs = Field(10, description="The number of epochs in which this share rises from 0.")


class RobustParams(Section):
    """What makes a training resist wrong labels. Each is off by default."""

    loss: LossParams = Field(
        default_factory=lambda: CrossEntropy(kind="cross_entropy"),
        description="What is minimized. What is recorded is always the cross entropy of the given label.",
    )
    mixup: Positive | None = Field(
        None,
        description="Train on mixtures of two images each; their shares have the Beta(mixup, mixup) "
        "distribution. 1: uniform. null: off.",
    )
    average: Share | None = Field(
        None,
        description="Record, test and keep the moving average of the weights; each step it keeps this "
        "share of itself. null: off.",
    )
    sam: Positive | None = Field(
        None,
        description="Sharpness-aware minimization: the distance rho at which the gradient is taken. "
        "null: off.",
    )
    co_training: JoCoR | None = Field(
        None,
        description="Train two networks together, and record, test and keep the mean of their "
        "predictions. null: off.",
    )

    @model_validator(mode="after")
    def _one_loss(self) -> RobustParams:
        if self.co_training is None:
            return self
        if self.loss.model_dump() != CrossEntropy(kind="cross_entropy").model_dump():
            raise ValueError(
                "co_training has a loss of its own: write `loss: {kind: cross_entropy}` or "
                "`co_training: null`"
            )
        if self.mixup is not None:
            raise ValueError(
                "co_training needs samples with one label, and mixup gives them two: write `mixup: null` or "
                "`co_training: null`"
            )
        return self

    def alone(self) -> str | None:
        """The key, if any, with which one process alone can train: it looks at whole batches."""
        return next((key for key in ("mixup", "co_training") if getattr(self, key) is not None), None)
