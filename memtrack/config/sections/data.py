"""Section `data`: where the images and labels come from."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    Field,
    Strict,
    field_validator,
    model_validator,
)

from memtrack.config.sections.base import (
    PREPARED,
    VARIANTS,
    Choices,
    InputPath,
    Name,
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


class NamedByPeople(HeldOut):
    """The keys of sources whose class names people have written."""

    similar_classes: Literal["refuse", "keep"] = Field(
        "refuse",
        description="Classes whose names differ by case, blanks or Unicode form alone, or look like a "
        "missing label (nan, NA, null, None), and labels in a table that are fractions or lists (a,b): "
        "refuse stops and lists them; keep takes each as a class.",
    )


class Files(NamedByPeople):
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


class NamedSplits(NamedByPeople):
    """The keys of sources of several tables, of which the names say to which split each belongs.

    Attributes:
        ONLY: the key that names the only table.
    """

    ONLY: ClassVar[str]
    train: Name = Field("train", description="The split that is for training, if the samples have splits.")
    test: Name | None = Field(None, description="The split that is for testing; null: hold out test_share.")

    @model_validator(mode="after")
    def _two_splits(self) -> Self:
        if self.train == self.test:
            raise ValueError(f"train and test are both {self.train!r}: remove test to hold out a share")
        return self


class Cells(NamedSplits, Files):
    """The keys of sources of which each image is encoded in a cell of a table, as Hugging Face has them."""

    ONLY = "file"

    image_column: Name = Field("image", description="The column of the encoded images.")
    label_column: Name = Field(
        "label", description="The column of the labels: text, or whole numbers with or without names."
    )
    id_column: Name | None = Field(
        None, description="A column of ids, all different; null: the numbers of the rows."
    )


class Parquet(Cells):
    """Parquet files with encoded images in a column, one file or many.

    The split of a file is in its name, as in train-00000-of-00002.parquet, or in that of its folder."""

    kind: Literal["parquet"]
    file: SubPath | None = Field(
        None, description="The only file, below root; null: all .parquet files below root."
    )


class HuggingFace(Cells):
    """A data set of Hugging Face's `datasets`: a folder that `save_to_disk` wrote, or a name on the hub."""

    kind: Literal["hugging_face"]
    name: Name | None = Field(
        None,
        description="The name on the hub, such as ylecun/mnist: it is downloaded into a folder below root, "
        "unless it is there (`pip install 'memtrack[datasets]'`); null: root is the data set.",
    )
    config: Name | None = Field(None, description="The configuration, for a name that has several.")
    revision: Name | None = Field(None, description="A commit, tag or branch of the name; null: the newest.")
    download: bool = Field(True, description="Download what is not under root; false: an error.")

    @model_validator(mode="after")
    def _of_a_name(self) -> Self:
        if self.name is None and (self.config is not None or self.revision is not None):
            raise ValueError("config and revision belong to a name on the hub: give `name`")
        return self


class Arrays(NamedByPeople):
    """Images or feature vectors in NumPy's files, with their labels.

    Images are (N, H, W), (N, H, W, channels) or (N, channels, H, W), with one or three channels of 8 bits:
    whole numbers from 0 to 255, or floats that are such numbers divided by 255. Vectors are numbers
    (N, features).
    """

    kind: Literal["arrays"]
    file: SubPath | None = Field(
        None,
        description="A .npz file below root that holds the arrays; null: each is an .npy file below root.",
    )
    images: SubPath = Field("images", description="The images or vectors: a name in `file`, or an .npy file.")
    labels: SubPath = Field("labels", description="Their labels (N,): numbers or text.")
    test_images: SubPath | None = Field(
        None, description="The same for the test split; null: hold out a share."
    )
    test_labels: SubPath | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.test_images is None) != (self.test_labels is None):
            raise ValueError("test_images and test_labels belong together: give both, or none")
        if self.test_images == self.images:
            raise ValueError(
                "test_images and images are the same: leave out both test keys to hold out a share"
            )
        return self


class Rows(NamedSplits):
    """The keys of sources of which each sample is a row of a table, one table or many.

    The split of a table is in its name, as in train-00000-of-00002.parquet, or in that of its folder."""

    ONLY = "table"
    table: SubPath | None = Field(
        None, description="The only table, below root: .csv, .tsv or .parquet; null: all of these below root."
    )
    label_column: str = "label"
    id_column: str | None = Field(
        None,
        description="A column of ids, all different; null: line or row numbers, with several tables after "
        "the path of the table (train.csv:7).",
    )
    split_column: str | None = Field(None, description="A column that holds 'train' or 'test'.")

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        if self.test is not None and self.table is not None:
            raise ValueError("test is a split in the names of several tables, and table names the only one: "
                             "remove one of the two, or use split_column")  # fmt: skip
        if self.test is not None and self.split_column is not None:
            raise ValueError("the test split is in the names of the tables (test) or in split_column: "
                             "remove one of the two")  # fmt: skip
        return self


class Features(Rows):
    """The numeric columns of a table, each scaled to mean 0 and standard deviation 1."""

    kind: Literal["features"]
    columns: Choices[str] | None = Field(
        None, description="The columns; null: all but those of the label, the id and the split."
    )


class Text(Rows):
    """Short texts, as the principal directions of their TF-IDF weights (latent semantic analysis), or as the
    embeddings of a model."""

    kind: Literal["text"]
    text_column: str = "text"
    dimensions: Annotated[int, Field(ge=2, le=4096)] = Field(
        64,
        description="The length of TF-IDF's vectors; at most the number of texts and of different words.",
    )
    model: Name | None = Field(
        None,
        description="A model of sentence-transformers whose embeddings are the vectors: a folder below root, "
        "or a name on Hugging Face's hub (`pip install 'memtrack[sentence-transformers]'`); null: TF-IDF.",
    )
    revision: Name | None = Field(None, description="A commit, tag or branch of the model; null: the newest.")

    @model_validator(mode="after")
    def _of_the_model(self) -> Self:
        if self.model is not None and "dimensions" in self.model_fields_set:
            raise ValueError("dimensions is for TF-IDF, and a model has its own: leave out one of the two")
        if self.model is None and self.revision is not None:
            raise ValueError("revision belongs to a model: give `model`")
        return self


VECTORS = ("features", "text")
"""The kinds of sources that have no images. `arrays` may have them or not."""

DataParams = Annotated[
    Digits | Torchvision | ImageFolder | Table | Parquet | HuggingFace | Arrays | Features | Text,
    Field(discriminator="kind"),
]
