"""Section `tune`: what `memtrack tune` searches; no stage reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    model_validator,
)

from memtrack.config.sections.base import Choices, Name, Scale, Section, Seed, StandardError, VariantName
from memtrack.config.sections.curvature import Probes
from memtrack.config.sections.recipe_search import RecipeSearchParams
from memtrack.config.sections.record import RecordedEpochs

DEFAULT_STORAGE = "sqlite:///.memtrack/tune/study.db"
"""Optuna's storage if none is given; the path is relative to the project."""


class ScaleRange(Section):
    """A range of perturbation scales, searched on a log scale."""

    low: Scale | None = Field(None, description="null: the smallest that record.precision allows.")
    high: Scale = 1.0

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
        description="The variant to search on: the score should find its known corruption, or agree with its "
        "memorization; null: the first variant that has some.",
    )
    held_out: VariantName | None = Field(
        None,
        description="A variant with other corruption, trained once, on which the winner is confirmed; null: "
        "one half of the samples selects the winner, the other half confirms it.",
    )
    perturbation_scale: ScaleRange = Field(default_factory=ScaleRange)
    probes: ProbeRange = Field(default_factory=ProbeRange)
    norm: Choices[Literal["plain", "squared"]] = ("plain",)
    score: Choices[Literal["curvature", "curvature_log", "curvature_ranks", "curvature_last"]] = Field(
        ("curvature",), description="The name of the score, which determines how the epochs are combined."
    )
    epochs: Choices[RecordedEpochs] | None = Field(
        None, description="Choices of recorded epochs; null: record.epochs."
    )
    objectives: Choices[Literal["auroc", "memorization", "cost"]] = Field(
        ("auroc",),
        description="[auroc]: how well known corruption is found; [memorization]: the correlation with the "
        "memorization that stage memorization estimated (half of the samples and networks select the winner, "
        "the others confirm it; held_out and standard_error are not used). With cost as the second objective "
        "the result is the Pareto front; the unit of cost is one training without recording.",
    )
    sampler: Literal["tpe", "gp", "random", "qmc", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        100, description="Number of finished trials of the study, over all its runs."
    )
    timeout: Annotated[float, Field(gt=0, le=31_536_000)] | None = Field(
        None, description="Seconds after which no new trial starts; null: no limit."
    )
    seed: Seed = 0
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Processes that share the cores.")
    standard_error: StandardError | None = Field(
        0.005,
        description="Trials use as many corrupted and clean samples, drawn at random, as bring the standard "
        "error of their AUROC down to this value; null: all samples.",
    )
    storage: Name | None = Field(
        None,
        description="URL of Optuna's storage, postgresql+psycopg://... or sqlite:///...; null: a file in "
        ".memtrack.",
    )
    study: Name | None = Field(
        None, description="The study's name; null: derived from the variant and from what was trained."
    )
    cache_gb: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        2.0,
        description="Measured probe norms are kept in .memtrack for later trials, up to this many gigabytes.",
    )

    recipe: RecipeSearchParams = Field(
        default_factory=RecipeSearchParams, description="What `memtrack tune --recipe` searches."
    )

    @model_validator(mode="after")
    def _finds_something(self) -> TuneParams:
        if self.objectives[0] == "cost" or self.objectives[1:] not in ((), ("cost",)):
            raise ValueError("objectives should be [auroc] or [memorization], or one of them and cost")
        if self.variant is not None and self.variant == self.held_out:
            raise ValueError("held_out should be another variant than variant, or null (--held-out none)")
        return self
