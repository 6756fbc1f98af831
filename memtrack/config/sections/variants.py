"""Section `variants`: the same images under other labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    Field,
    Strict,
    field_validator,
)

from memtrack.config.sections.base import PREPARED, VARIANTS, InputPath, MatrixRow, Name, Rate, Section, Seed


class Variant(Section):
    """The keys of every variant."""

    labels: InputPath = Field(
        description="The labels that it starts from: data/prepared (those of the data set), "
        "data/variants/NAME (those of another variant), or a table: for from_file the labels themselves, for "
        "confusion the matrix, which then changes the labels of the data set."
    )


class SeededVariant(Variant):
    """The keys of every variant that is drawn at random."""

    seed: Seed = 0


class NoNoise(Variant):
    """The labels unchanged."""

    kind: Literal["none"]


class Symmetric(SeededVariant):
    """An exact share of the samples gets a label drawn uniformly from the other classes."""

    kind: Literal["symmetric"]
    rate: Rate = Field(description="Share of labels to corrupt.")


class Pair(SeededVariant):
    """An exact share of the samples gets the label of their class's partner."""

    kind: Literal["pair"]
    rate: Rate = Field(description="Share to corrupt, of the labels whose class has a partner.")
    pairs: dict[str, str] | None = Field(
        None, description="For each class, the class it is mistaken for; others stay. null: the next class."
    )


class Confusion(SeededVariant):
    """Each label is drawn from its class's row of a matrix."""

    kind: Literal["confusion"]
    matrix: Annotated[tuple[MatrixRow, ...], Strict(False), Field(min_length=2)] | None = Field(
        None,
        description="One row for each class, in class order: the share of its samples that gets each label. "
        "null: labels names a table with the matrix.",
    )

    @field_validator("matrix", mode="before")
    @classmethod
    def _no_file(cls, matrix: object) -> object:
        if isinstance(matrix, str):
            raise ValueError("should be rows of numbers: put the path of a table with the matrix into labels")
        return matrix

    @field_validator("matrix")
    @classmethod
    def _square(cls, matrix: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
        for number, row in enumerate(matrix or (), start=1):
            if len(row) != len(matrix or ()):
                raise ValueError(
                    f"row {number} has {len(row)} numbers: with {len(matrix or ())} rows, each needs "
                    f"{len(matrix or ())}"
                )
            if problem := share_problem(row):
                raise ValueError(f"row {number} {problem}")
        return matrix


class InstanceDependent(SeededVariant):
    """An exact share of the samples gets the label of the nearest other class, harder samples more often."""

    kind: Literal["instance_dependent"]
    rate: Rate = Field(description="Share of labels to corrupt.")


class RandomLabels(SeededVariant):
    """Every label is drawn anew from all classes (Zhang et al., 2017)."""

    kind: Literal["random"]


class ConflictingDuplicates(SeededVariant):
    """Copies of some samples under another label are added."""

    kind: Literal["conflicting_duplicates"]
    rate: Rate = Field(description="Share of the samples that get a copy.")


class PixelNoise(SeededVariant):
    """The labels unchanged, on images whose structure is destroyed (Zhang et al., 2017)."""

    kind: Literal["pixels"]
    how: Literal["shuffled", "random", "gaussian"] = Field(
        description="shuffled: one permutation of the pixels for all images, including the test split; "
        "random: one for each training image; gaussian: noise with the data set's mean and deviation."
    )


class FromFile(Variant):
    """Labels given by people, from a CSV or Parquet table."""

    kind: Literal["from_file"]
    id_column: str = Field("id", description="Column with the sample ids.")
    label_column: str = Field("label", description="Column with the class names (or numbers).")
    partial: bool = Field(
        False,
        description="true: the table holds only some samples, and the others keep the data set's own label; "
        "false: it must hold every training sample.",
    )
    leave_out: Name | None = Field(
        None,
        description="A text in the label column, such as '-', that leaves the sample out of the variant; "
        "null: every sample stays.",
    )
    weight_column: str | None = Field(
        None,
        description="Column with the weight of each sample in the training loss, from 0 to 1, such as weight "
        "in results/clean/NAME/labels.csv; null: all weights are 1.",
    )


VariantParams = Annotated[
    NoNoise
    | Symmetric
    | Pair
    | Confusion
    | InstanceDependent
    | RandomLabels
    | ConflictingDuplicates
    | PixelNoise
    | FromFile,
    Field(discriminator="kind"),
]


def share_problem(row: Sequence[float]) -> str | None:
    """What is wrong with a row of a confusion matrix, or None."""
    return (
        None if abs(sum(row) - 1) <= 1e-6 else f"sums to {sum(row):g}: the shares of a class should sum to 1"
    )


def read_from_table(variant: Variant) -> str | None:
    """What the key `labels` of a variant holds if it names a table; None if it names labels to start from."""
    match variant:
        case FromFile():
            return "labels given by people"
        case Confusion(matrix=None):
            return "confusion matrix, or matrix should be given"
    return None


def base_variant(variant: Variant) -> str | None:
    """The name of the variant that `variant` starts from, or None."""
    path = PurePosixPath(variant.labels)
    return path.name if str(path.parent) == VARIANTS else None


def labels_problem(name: str, variants: Mapping[str, Variant]) -> str | None:
    """What is wrong with the key `labels` of a variant, or None."""
    variant = variants[name]
    base = base_variant(variant)
    table = read_from_table(variant)
    if table is not None:
        if base is not None or variant.labels.rstrip("/") == PREPARED:
            return f"should be the file with the {table}"
        return None
    if base is None:
        if variant.labels.rstrip("/") != PREPARED:
            others = "kinds from_file and confusion, without matrix, read a file"
            return f"should be {PREPARED} or {VARIANTS}/NAME ({others})"
        return None
    chain = [name]
    if base not in variants:
        return f"there is no variant {base!r}; there are: {', '.join(variants)}"
    while base is not None and base in variants:
        if base == name:
            return f"the variant refers to itself: {' -> '.join([*chain, base])}"
        if base in chain:
            return None  # this variant leads to a circle but is not part of it: its members report it
        chain.append(base)
        base = base_variant(variants[base])
    if isinstance(variant, PixelNoise):
        randomized = [other for other in chain[1:] if isinstance(variants[other], PixelNoise)]
        if randomized:
            return f"the variant {randomized[0]!r} already has randomized pixels"
    return None
