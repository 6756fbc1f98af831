"""Section `clean`: variants with mended labels, and what mending them is worth."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from memtrack.config.sections.base import Choices, InputPath, Section, Seed, Share, VariantName


class Cleaning(Section):
    """How a variant is cleaned."""

    decisions: InputPath = Field(
        description="The table of a person's decisions, as the page exports it, or "
        "results/suspects/NAME/suspects.csv: then the probability that a label is wrong decides."
    )
    above: Share = Field(
        0.5, description="With suspects.csv: labels that are wrong with a probability above this are changed."
    )
    then: Literal["relabel", "remove", "weight"] = Field(
        "relabel",
        description="With suspects.csv: whether these samples get the suggested label, go, or stay with the "
        "probability that their label is right as their weight in the training loss.",
    )
    doubtful: Literal["refuse", "use"] = Field(
        "refuse",
        description="With suspects.csv, where stage suspects calls its numbers doubtful: refuse stops and "
        "says why; use takes them all the same.",
    )
    ambiguous: Literal["keep", "remove", "weight"] = Field(
        "keep",
        description="With decisions: whether samples that a person calls ambiguous stay, go, or stay with "
        "the `weight`.",
    )
    weight: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="With `ambiguous: weight`: their weight in the training loss; others have 1."
    )
    seeds: Choices[Seed] = Field(
        (0, 1, 2, 3, 4),
        description="For stage benefit: seeds of the networks, each of which trains on every set of labels.",
    )

    @property
    def weighs(self) -> bool:
        """Whether a decision may give a sample a weight."""
        return "weight" in (self.then, self.ambiguous)

    def by_probability(self, name: str) -> bool:
        """Whether stage suspects decides about the variant `name`, and not a person."""
        return PurePosixPath(self.decisions) == PurePosixPath(f"results/suspects/{name}/suspects.csv")

    def decisions_problem(self, name: str, learned: tuple[str, ...]) -> str | None:
        """What is wrong with `decisions` for the variant `name`; None if nothing is.

        Args:
            learned: the variants of which stage suspects decides.
        """
        if self.by_probability(name):
            return None if name in learned else f"add {name} to suspects.variants, which makes this file"
        path = PurePosixPath(self.decisions)
        if path.is_absolute() or not path.match("results/suspects/*/suspects.csv"):
            return None
        return f"is about another variant: write results/suspects/{name}/suspects.csv"


class CleanParams(Section):
    """Variants whose labels are mended or left out, by a person or by their probability."""

    variants: dict[VariantName, Cleaning] = Field(
        default_factory=dict, description="The variants to clean; {}: none."
    )

    def of(self, name: str) -> Cleaning:
        """How the variant `name` is cleaned; raises an `InputError` if it is not."""
        if name not in self.variants:
            raise self.mistake("variants", message=f"{name} is not among them: add it")
        return self.variants[name]
