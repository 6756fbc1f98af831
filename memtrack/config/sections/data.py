"""Section `data`: where the images and labels come from."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    Field,
    Strict,
    field_validator,
)

from memtrack.config.sections.base import (
    PREPARED,
    VARIANTS,
    InputPath,
    Section,
    Seed,
    Share,
    SubPath,
)

Level = Annotated[int, Field(ge=0, le=255)]
OUTPUTS = tuple(PurePosixPath(folder) for folder in (PREPARED, VARIANTS, "results"))


class Source(Section):
    """The keys of every data source."""

    root: InputPath = Field(description="The folder that holds the source's files; DVC watches it.")
    train_limit: Annotated[int, Field(ge=2, le=10**9)] | None = Field(
        None, description="Keep this many training samples (a seeded, stratified draw); null: all."
    )
    seed: Seed = Field(0, description="Seed for the held-out share and for train_limit.")


class HeldOut(Source):
    """The keys of sources that may have no test split."""

    test_share: Share = Field(0.2, description="Share of the samples to hold out if there is no test split.")


class Digits(HeldOut):
    """scikit-learn's 1,797 scanned digits, 8x8 pixels: nothing to download."""

    kind: Literal["digits"]


class Torchvision(Source):
    """A torchvision data set by name, with its own train and test split."""

    kind: Literal["torchvision"]
    name: Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]
    download: bool = Field(True, description="Download files that are not under root; false: an error.")


class Files(HeldOut):
    """The keys of sources that consist of image files."""

    image_size: Annotated[int, Field(ge=4, le=1024)] = Field(
        32, description="Images are resized to this width and height, in pixels."
    )
    mode: Literal["RGB", "L"] = Field("RGB", description="RGB: colour; L: grey.")
    background: tuple[Level, Level, Level] = Field(
        (255, 255, 255),
        strict=False,
        description="The colour behind transparent pixels: red, green and blue, from 0 to 255.",
    )
    depth: Annotated[int, Field(ge=8, le=16)] | None = Field(
        None,
        description="The bits that images of more than 8 bits per channel use, for all images alike; "
        "null: the fewest of 8, 10, 12, 14 and 16 that hold every value.",
    )
    max_pixels: Annotated[int, Field(ge=1, le=2**40)] | None = Field(
        500_000_000, description="An image of more pixels is an error; null: no limit."
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="Damaged images: fail lists all of them and stops; skip leaves them out."
    )
    similar_classes: Literal["refuse", "keep"] = Field(
        "refuse",
        description="Classes whose names differ by case, blanks or Unicode form alone, or look like a "
        "missing label (nan, NA, null, None): refuse stops and lists them; keep takes each as a class.",
    )


class ImageFolder(Files):
    """A folder of images, one sub-folder per class."""

    kind: Literal["image_folder"]
    train: SubPath = Field(".", description="The folder that contains the class folders, below root.")
    test: SubPath | None = Field(
        None, description="The same for the test split, below root; null: hold out test_share."
    )
    allow_split_names: bool = Field(
        False, description="true: folders that are named train, val, test and so on may be classes."
    )


class Table(Files):
    """A CSV or Parquet table with one row per image; paths are relative to root."""

    kind: Literal["table"]
    table: SubPath = Field(description="The table, below root: .csv, .tsv or .parquet.")
    path_column: str = "path"
    label_column: str = "label"
    split_column: str | None = Field(None, description="A column that holds 'train' or 'test'.")
    classes: Annotated[tuple[str, ...], Strict(False), Field(min_length=2)] | None = Field(
        None, description="The class names, in order; null: those in the table, sorted."
    )

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in classes or () if (classes or ()).count(name) > 1})
        if twice:
            raise ValueError(f"names a class twice: {', '.join(twice)}")
        return classes


DataParams = Annotated[Digits | Torchvision | ImageFolder | Table, Field(discriminator="kind")]
