"""Section `tune`: what `memtrack tune` searches; no stage reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    model_validator,
)

from memtrack.config.sections.base import Choices, Count, Name, Positive, Section, Seed, VariantName
from memtrack.config.sections.curvature import Probes
from memtrack.config.sections.record import RecordedEpochs


class ScaleRange(Section):
    """A range of perturbation scales, searched on a log scale."""

    low: Positive | None = Field(None, description="null: the least that record.precision allows.")
    high: Positive = 1.0

    @model_validator(mode="after")
    def _rises(self) -> ScaleRange:
        if self.low is not None and self.low >= self.high:
            raise ValueError("low should be below high")
        return self


class ProbeRange(Section):
    """A range of numbers of probes."""

    low: Probes = 1
    high: Probes = 5

    @model_validator(mode="after")
    def _rises(self) -> ProbeRange:
        if self.low > self.high:
            raise ValueError("low should not be above high")
        return self


class TuneParams(Section):
    """What `python -m memtrack.tune` searches; no stage reads it."""

    variant: VariantName | None = Field(
        None,
        description="Whose known corruption is to be found, or with whose memorization the score is to "
        "agree; null: the first variant that has some.",
    )
    held_out: VariantName | None = Field(
        None,
        description="A variant with other corruption, trained once, on which the winner is confirmed; "
        "null: one half of the samples chooses, the other half confirms.",
    )
    perturbation_scale: ScaleRange = Field(default_factory=ScaleRange)
    probes: ProbeRange = Field(default_factory=ProbeRange)
    norm: Choices[Literal["plain", "squared"]] = ("plain",)
    score: Choices[Literal["curvature", "curvature_log", "curvature_ranks", "curvature_last"]] = Field(
        ("curvature",), description="How the epochs are combined, by the name of the score."
    )
    epochs: Choices[RecordedEpochs] | None = Field(
        None, description="Choices of recorded epochs; null: record.epochs."
    )
    objectives: Choices[Literal["auroc", "memorization", "cost"]] = Field(
        ("auroc",),
        description="[auroc]: who finds known corruption; [memorization]: who agrees with the memorization "
        "that stage memorization estimated (correlation; half of the samples and networks choose, the others "
        "confirm; held_out and standard_error say nothing); with cost after it the Pareto front; cost in "
        "trainings without recording.",
    )
    sampler: Literal["tpe", "gp", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    trials: Count = Field(
        100, description="So many finished trials the study is to have, all runs of it together."
    )
    timeout: Positive | None = Field(
        None, description="Seconds after which no trial is begun; null: no limit."
    )
    seed: Seed = 0
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Processes that share the cores.")
    standard_error: Positive | None = Field(
        0.005,
        description="Trials see as many corrupted and clean samples, drawn at random, as bring the standard "
        "error of their AUROC down to this; null: all samples.",
    )
    storage: Name | None = Field(
        None,
        description="Optuna's storage, postgresql+psycopg://... or sqlite:///...; null: a file in .memtrack.",
    )
    study: Name | None = Field(
        None, description="The study's name; null: made of the variant and of what was trained."
    )
    cache_gb: Positive = Field(
        2.0,
        description="Measured probe norms are kept in .memtrack for later trials, up to so many gigabytes.",
    )

    @model_validator(mode="after")
    def _finds_something(self) -> TuneParams:
        if self.objectives[0] == "cost" or self.objectives[1:] not in ((), ("cost",)):
            raise ValueError("objectives should be [auroc] or [memorization], or one of them and cost")
        if self.variant is not None and self.variant == self.held_out:
            raise ValueError("held_out should be another variant than variant, or null (--held-out none)")
        return self
