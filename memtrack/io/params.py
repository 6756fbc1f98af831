"""params.yaml: what may stand in it, checked before anything runs.

Each section is a frozen pydantic model; where there is a choice (source, noise, model, schedule), the
key `kind` makes it. `load` gives the whole file or an `InputError` that lists every mistake.
"""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    field_validator,
    model_validator,
)

from memtrack.core import scores
from memtrack.core.precision import SMALLEST_SCALE
from memtrack.io.problems import InputError, Problem
from memtrack.io.validation import nearest, validate
from memtrack.io.yaml_file import read_yaml

PARAMS_FILE = Path("params.yaml")
PREPARED = "data/prepared"
VARIANTS = "data/variants"
UNLOGGED = {"variants", "tracking", "tune", "duplicates", "repeat", "memorization", "utility", "compute"}
"""Sections that a training run does not hang on."""
OUTPUTS = tuple(PurePosixPath(folder) for folder in (PREPARED, VARIANTS, "results"))
VARIANT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _inside_or_absolute(text: str) -> str:
    path = PurePosixPath(text)
    if not text or text.startswith("~") or (not path.is_absolute() and ".." in path.parts):
        raise ValueError(
            "should be a path inside the project, or an absolute one (DVC runs experiments in a "
            "copy of the project elsewhere, where '..' and '~' mean something else)"
        )
    return text


def _below(text: str) -> str:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError("should be a path below root (DVC watches root for changes)")
    return text


def _variant_name(text: str) -> str:
    if not VARIANT_NAME.fullmatch(text):
        raise ValueError(
            "a variant is part of its stage's name (train@NAME): start with a letter, then letters, "
            "digits, '_' and '-'"
        )
    return text


InputPath = Annotated[str, AfterValidator(_inside_or_absolute)]
SubPath = Annotated[str, AfterValidator(_below)]
VariantName = Annotated[str, AfterValidator(_variant_name)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
MatrixRow = Annotated[tuple[Fraction, ...], Strict(False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
T = TypeVar("T")


def _different(choices: tuple[T, ...]) -> tuple[T, ...]:
    if any(choice in choices[:number] for number, choice in enumerate(choices)):
        raise ValueError("names a choice twice")
    return choices


Choices = Annotated[tuple[T, ...], Strict(False), Field(min_length=1), AfterValidator(_different)]
VariantNames = Annotated[tuple[VariantName, ...], Strict(False), AfterValidator(_different)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Section(BaseModel):
    """A part of the parameter file: no unknown keys, no silent conversion, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- data ---------------------------------------------------------------------------------------


class Source(Section):
    """What every data source has."""

    root: InputPath = Field(description="The folder that holds the source's files; DVC watches it.")
    train_limit: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Keep so many training samples (a seeded, stratified draw); null: all."
    )
    seed: Seed = Field(0, description="Seed of the held-out share and of train_limit.")


class HeldOut(Source):
    """What sources have that may come without a test split."""

    test_share: Share = Field(0.2, description="Share of the samples held out where there is no test split.")


class Digits(HeldOut):
    """scikit-learn's 1,797 scanned digits, 8x8 pixels: nothing to download."""

    kind: Literal["digits"]


class Torchvision(Source):
    """A torchvision data set by name, with its own train and test split."""

    kind: Literal["torchvision"]
    name: Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]
    download: bool = Field(True, description="Download what is not under root; false: an error.")


class Files(HeldOut):
    """What sources made of image files have."""

    image_size: Annotated[int, Field(ge=4, le=1024)] = Field(
        32, description="Images are resized to this width and height, in pixels."
    )
    mode: Literal["RGB", "L"] = Field("RGB", description="Colour, or L for grey.")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="A broken image: stop and list all of them, or leave out and count."
    )


class ImageFolder(Files):
    """A folder of images, one sub-folder per class."""

    kind: Literal["image_folder"]
    train: SubPath = Field(".", description="The folder of class folders, below root.")
    test: SubPath | None = Field(None, description="The same for the test split, below root.")


class Table(Files):
    """A CSV or Parquet table with a row per image; paths are relative to root."""

    kind: Literal["table"]
    table: SubPath = Field(description="The table, below root: .csv or .parquet.")
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


# --- variants -----------------------------------------------------------------------------------


class Variant(Section):
    """What every variant has."""

    labels: InputPath = Field(
        description="The labels it starts from: data/prepared (the data set's own), "
        "data/variants/NAME (another variant's), or for from_file the table of labels."
    )


class SeededVariant(Variant):
    """What every variant has that is drawn."""

    seed: Seed = 0


class NoNoise(Variant):
    """The labels as they are."""

    kind: Literal["none"]


class Symmetric(SeededVariant):
    """An exact share of the samples gets a label drawn uniformly from the other classes."""

    kind: Literal["symmetric"]
    rate: Rate = Field(description="Share of labels to corrupt.")


class Pair(SeededVariant):
    """An exact share of the samples gets the label of their class's partner."""

    kind: Literal["pair"]
    rate: Rate = Field(description="Share to corrupt of the labels that have a partner.")
    pairs: dict[str, str] | None = Field(
        None, description="For each class the one it is mistaken for, others stay; null: the next class."
    )


class Confusion(SeededVariant):
    """Each label is drawn from its class's row of a matrix."""

    kind: Literal["confusion"]
    matrix: Annotated[tuple[MatrixRow, ...], Strict(False), Field(min_length=2)] = Field(
        description="A row for each class, in their order: the share of its samples that gets each label."
    )

    @field_validator("matrix")
    @classmethod
    def _square(cls, matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        for number, row in enumerate(matrix, start=1):
            if len(row) != len(matrix):
                raise ValueError(
                    f"row {number} has {len(row)} numbers: with {len(matrix)} rows, each has as many"
                )
            if abs(sum(row) - 1) > 1e-6:
                raise ValueError(f"row {number} sums to {sum(row):g}: the shares of a class should sum to 1")
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
    """The labels as they are, on images without their structure (Zhang et al., 2017)."""

    kind: Literal["pixels"]
    how: Literal["shuffled", "random", "gaussian"] = Field(
        description="shuffled: one permutation of the pixels for all images, also of the test split; random: "
        "one for each training image; gaussian: noise with the data set's mean and deviation."
    )


class FromFile(Variant):
    """Labels that people gave, from a CSV or Parquet table."""

    kind: Literal["from_file"]
    id_column: str = Field("id", description="Column with the sample ids.")
    label_column: str = Field("label", description="Column with the class names (or numbers).")


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


# --- training -----------------------------------------------------------------------------------

Dropout = Annotated[float, Field(ge=0, lt=1)]


class Cnn(Section):
    """A small convolutional network: `depth` blocks, the first `width` channels wide."""

    kind: Literal["cnn"]
    width: Annotated[int, Field(ge=1, le=1024)] = 32
    depth: Annotated[int, Field(ge=1, le=6)] = 2
    dropout: Dropout = 0.0


class Mlp(Section):
    """A fully connected network: `depth` hidden layers of `width` units."""

    kind: Literal["mlp"]
    width: Annotated[int, Field(ge=1, le=16384)] = 64
    depth: Annotated[int, Field(ge=1, le=16)] = 2
    dropout: Dropout = 0.0


class TorchvisionModel(Section):
    """A torchvision classifier by name, untrained, its stem adapted to small images."""

    kind: Literal["torchvision"]
    name: str = Field("resnet18", description="A name that torchvision.models.list_models knows.")
    small_stem: bool = Field(
        True,
        description="Do not shrink the image in the first layers (for images up to 64 pixels).",
    )


ModelParams = Annotated[Cnn | Mlp | TorchvisionModel, Field(discriminator="kind")]


class Sgd(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    lr: Positive = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 0.0005

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true wants a momentum above 0")
        return self


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    lr: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


OptimizerParams = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Constant(Section):
    """The learning rate stays."""

    kind: Literal["constant"]


class Step(Section):
    """The learning rate is multiplied by `factor` after each of the `milestones` (epochs)."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Count, ...], Strict(False), Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Cosine(Section):
    """The learning rate falls to zero along half a cosine."""

    kind: Literal["cosine"]


class OneCycle(Section):
    """The learning rate rises for the share `warmup` of the training and falls again."""

    kind: Literal["one_cycle"]
    warmup: Share = 0.3


ScheduleParams = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="kind")]


class Augment(Section):
    """Random changes to each training image; never used when recording."""

    crop: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Shift by up to so many pixels (zero padding); 0: off."
    )
    flip: bool = Field(False, description="Mirror every second image left to right.")


class RecipeParams(Section):
    """A network and how it is trained."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)] = 64
    model: ModelParams
    optimizer: OptimizerParams
    schedule: ScheduleParams


class TrainParams(RecipeParams):
    """How the network is trained."""

    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Processes that decode image files; 0: none but the training process."
    )
    augment: Augment = Augment()


# --- recording, evaluation, tracking ------------------------------------------------------------


class Every(Section):
    """Record every `interval`-th epoch."""

    kind: Literal["every"]
    interval: Count = 1


class EpochList(Section):
    """Record these epochs; the first is epoch 1."""

    kind: Literal["list"]
    epochs: Annotated[tuple[Count, ...], Strict(False), Field(min_length=1)]


class First(Section):
    """Record the first `count` epochs."""

    kind: Literal["first"]
    count: Count


class Geometric(Section):
    """Record epochs 1, about `ratio`, `ratio` squared, ... and the last: dense early, sparse late."""

    kind: Literal["geometric"]
    ratio: Annotated[float, Field(ge=1.01, le=100)] = 1.5


RecordedEpochs = Annotated[Every | EpochList | First | Geometric, Field(discriminator="kind")]


class RecordParams(Section):
    """Which epochs are recorded, and how."""

    epochs: RecordedEpochs
    batch_size: Count | None = Field(
        None,
        description="Of the sweep over the training set; null: the fastest, by a short measurement. "
        "Changes the speed; the numbers to rounding at most.",
    )
    checkpoints: Literal["all", "recorded"] = Field(
        "all",
        description="Keep the network after every epoch, or after recorded ones only. With all, any other "
        "choice of epochs is recorded later without training again.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the sweep's arithmetic; bfloat16 wants perturbation_scale >= 0.03."
    )
    gradient_variance: bool = Field(
        False,
        description="Also measure the variance of gradients (VoG): one more gradient a recorded epoch.",
    )
    compile: bool = Field(False, description="Compile the network for the sweep (torch.compile).")


Probes = Annotated[int, Field(ge=1, le=10_000)]


class CurvatureParams(Section):
    """The estimate of the curvature."""

    method: Literal["forward", "central", "hessian"] = Field(
        "forward",
        description="forward: the paper's difference; central: to both sides; hessian: the exact product, "
        "which does not use perturbation_scale.",
    )
    perturbation_scale: Positive = Field(
        description="h, the length of the step along each entry of a probe, in normalized input units."
    )
    probes: Probes = Field(description="n, random directions.")
    norm: Literal["plain", "squared"] = Field(
        "plain", description="plain: the authors' code; squared: the paper's formula."
    )
    seed: Seed = 0


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
    perturbation_scale: ScaleRange = ScaleRange()
    probes: ProbeRange = ProbeRange()
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
        2.0, description="Measured lengths are kept in .memtrack for later trials, up to so many gigabytes."
    )

    @model_validator(mode="after")
    def _finds_something(self) -> TuneParams:
        if self.objectives[0] == "cost" or self.objectives[1:] not in ((), ("cost",)):
            raise ValueError("objectives should be [auroc] or [memorization], or one of them and cost")
        if self.variant is not None and self.variant == self.held_out:
            raise ValueError("held_out should be another variant than variant, or null (--held-out none)")
        return self


def _score_name(name: str) -> str:
    if not scores.known(name):
        hint = nearest(name.partition("_epochs_")[0], scores.SCORES)
        raise ValueError(
            f"no score {name!r}{hint}; there are: {', '.join(scores.SCORES)}, and NAME_epochs_FIRST_LAST for "
            "some epochs alone"
        )
    return name


ScoreName = Annotated[str, AfterValidator(_score_name)]


class EvaluateParams(Section):
    """Scores and bootstrap intervals."""

    scores: Choices[ScoreName] | None = Field(
        None, description="The scores by name; null: all of which the numbers are recorded."
    )
    bootstrap: Annotated[int, Field(ge=10, le=100_000)] = Field(1000, description="Resamples per interval.")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    seed: Seed = 0


class DuplicatesParams(Section):
    """What counts as a near duplicate."""

    ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.4,
        description="Two samples are near where their distance is below this share of the usual distance "
        "(the median) of a sample to its nearest neighbour, and of that to the furthest of `neighbours`; 0: "
        "exact duplicates alone.",
    )
    neighbours: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="So many nearest neighbours of each sample are looked at."
    )


class RepeatParams(Section):
    """Every variant once more with each of these seeds: how much of a difference between scores is chance."""

    seeds: Annotated[tuple[Seed, ...], Strict(False), AfterValidator(_different)] = Field(
        (), description="They take the place of train.seed and curvature.seed; labels stay."
    )


class MemorizationParams(Section):
    """Memorization by Feldman & Zhang: many networks, each trained on a random share of the samples."""

    variants: VariantNames = Field((), description="The variants it is estimated for; []: none.")
    models: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        1000, description="Networks. More can be asked for later: those that are there stay."
    )
    standard_error: Positive | None = Field(
        None, description="Stop at fewer networks, once the median over samples is this small; null: never."
    )
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7, description="Of the samples that each network is trained on."
    )
    seed: Seed = Field(0, description="Network number k is drawn from (seed, k).")
    recipe: RecipeParams | None = Field(
        None, description="The network and its training; null: those of `train`, without augmentation."
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of the forward passes.")
    published: dict[VariantName, InputPath] = Field(
        {},
        description="For a variant a file with the memorization that others have estimated, as Feldman and "
        "Zhang publish it for CIFAR-100 and ImageNet (npz: tr_mem, tr_labels, for files tr_filenames).",
    )


class UtilityParams(Section):
    """What the memorized samples are good for: networks trained without them."""

    variants: VariantNames = Field((), description="Of memorization.variants; []: none.")
    thresholds: Choices[Annotated[float, Field(ge=0, lt=1, multiple_of=0.001)]] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        description="Samples of more memorization than that are left out, against as many at random.",
    )
    models: Annotated[int, Field(ge=2, le=100_000)] = Field(
        20, description="Networks for each threshold, and as many without random samples."
    )


class ComputeParams(Section):
    """Where the networks of memorization and utility are trained. Changes numbers by rounding at most."""

    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Processes; null: one for each core, or one with a GPU. Not for a Ray cluster."
    )
    together: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Networks trained together; null: the fastest, by a short measurement."
    )
    ray: Name | None = Field(
        None,
        description="The address of a Ray cluster (auto, HOST:PORT); null: this machine. A worker for each "
        "GPU with train.device: cuda, for each core with cpu; auto: as this machine is.",
    )


class TrackingParams(Section):
    """Where MLflow keeps the runs."""

    uri: Name | None = Field(
        None,
        description="A server or store; null: mlflow.db in the project. The environment variable "
        "MLFLOW_TRACKING_URI comes first.",
    )
    experiment: Name = "memtrack"


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    variants: Annotated[dict[VariantName, VariantParams], Field(min_length=1)]
    train: TrainParams
    record: RecordParams
    curvature: CurvatureParams
    evaluate: EvaluateParams = EvaluateParams()
    duplicates: DuplicatesParams = DuplicatesParams()
    repeat: RepeatParams = RepeatParams()
    memorization: MemorizationParams = MemorizationParams()
    utility: UtilityParams = UtilityParams()
    compute: ComputeParams = ComputeParams()
    tune: TuneParams = TuneParams()
    tracking: TrackingParams = TrackingParams()

    @property
    def recipe(self) -> RecipeParams:
        """Of the networks that memorization is estimated with."""
        return self.memorization.recipe or self.train

    @property
    def recipe_section(self) -> tuple[str, ...]:
        """Where in params.yaml it is."""
        return ("train",) if self.memorization.recipe is None else ("memorization", "recipe")

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores that are computed."""
        recorded = scores.SCORES if self.record.gradient_variance else scores.SCORES.keys() - scores.ACROSS
        return self.evaluate.scores or tuple(name for name in scores.SCORES if name in recorded)

    def recorded_epochs(self, chosen: RecordedEpochs | None = None) -> tuple[int, ...]:
        """The epochs that are recorded, or another choice of them, rising, the first epoch being 1."""
        last = self.train.epochs
        match chosen or self.record.epochs:
            case EpochList(epochs=epochs):
                return tuple(sorted(epochs))
            case First(count=count):
                return tuple(range(1, count + 1))
            case Geometric(ratio=ratio):
                powers = range(math.ceil(math.log(last, ratio)) + 1)
                return tuple(sorted({min(round(ratio**power), last) for power in powers}))
            case Every(interval=interval):
                return tuple(range(interval, last + 1, interval))


def cross_field_problems(params: Params) -> list[tuple[tuple[str | int, ...], str]]:
    """Rules between sections: (where, what is wrong) for each one broken."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    root = PurePosixPath(params.data.root)
    if any(out == root or root in out.parents or out in root.parents for out in OUTPUTS):
        found.append((("data", "root"), "should not hold, or lie in, what the stages write"))
    recipes: dict[tuple[str, ...], RecipeParams] = {
        ("train",): params.train,
        params.recipe_section: params.recipe,
    }
    for where, recipe in recipes.items():
        if isinstance(recipe.schedule, Step):
            late = [epoch for epoch in recipe.schedule.milestones if epoch > recipe.epochs]
            if late:
                text = f"{late} are after the last epoch: {'.'.join(where)}.epochs is {recipe.epochs}"
                found.append(((*where, "schedule", "milestones"), text))
    found += _epochs_problems(("record", "epochs"), params.record.epochs, params.train.epochs)
    scale = params.curvature.perturbation_scale
    found += _scale_problems(("curvature", "perturbation_scale"), scale, params)
    if params.train.seed in params.repeat.seeds:
        text = f"{params.train.seed} is train.seed, with which every variant is trained already"
        found.append((("repeat", "seeds"), text))
    for number, name in enumerate(params.evaluate.scores or ()):
        found += [(("evaluate", "scores", number), text) for text in _score_problem(name, params)]
    for name in params.variants:
        found += [(("variants", name, "labels"), text) for text in _labels_problem(name, params)]
    found += _memorization_problems(params)
    return found


def _memorization_problems(params: Params) -> list[tuple[tuple[str | int, ...], str]]:
    named: list[tuple[tuple[str | int, ...], str]] = [
        ((section, "variants", number), name)
        for section, names in (
            ("memorization", params.memorization.variants),
            ("utility", params.utility.variants),
        )
        for number, name in enumerate(names)
    ]
    named += [(("memorization", "published", name), name) for name in params.memorization.published]
    found = [
        (
            where,
            f"there is no variant {name!r}{nearest(name, params.variants)} (there are: "
            f"{', '.join(params.variants)})",
        )
        for where, name in named
        if name not in params.variants
    ]
    found += [
        (
            ("utility", "variants", number),
            f"memorization is not estimated for {name}: see memorization.variants",
        )
        for number, name in enumerate(params.utility.variants)
        if name in params.variants and name not in params.memorization.variants
    ]
    return found


def tune_problems(tune: TuneParams, params: Params) -> list[tuple[tuple[str | int, ...], str]]:
    """What in a search does not fit the rest of the parameters."""
    scales = tune.perturbation_scale
    found = _scale_problems(("perturbation_scale", "high"), scales.high, params)
    if scales.low is not None:
        found += _scale_problems(("perturbation_scale", "low"), scales.low, params)
    for number, chosen in enumerate(tune.epochs or ()):
        found += _epochs_problems(("epochs", number), chosen, params.train.epochs)
    for key, name in (("variant", tune.variant), ("held_out", tune.held_out)):
        if name is not None and name not in params.variants:
            found.append(((key,), f"there is no such variant; there are: {', '.join(params.variants)}"))
    return found


def _score_problem(name: str, params: Params) -> list[str]:
    if name in scores.ACROSS and not params.record.gradient_variance:
        return ["is not recorded: it wants record.gradient_variance: true"]
    window = scores.WINDOW.fullmatch(name)
    if window is None:
        return []
    recorded, first, last = params.recorded_epochs(), int(window["first"]), int(window["last"])
    if any(first <= epoch <= last for epoch in recorded):
        return []
    return [f"no epoch from {first} to {last} is recorded (recorded are {', '.join(map(str, recorded))})"]


def _scale_problems(
    where: tuple[str | int, ...], scale: float, params: Params
) -> list[tuple[tuple[str | int, ...], str]]:
    precision = params.record.precision
    least = SMALLEST_SCALE[precision]
    if scale >= least or params.curvature.method == "hessian":
        return []
    text = (
        f"should be at least {least} at record.precision: {precision}, or the difference of the gradients "
        "is lost in their rounding"
    )
    return [(where, text)]


def _epochs_problems(
    where: tuple[str | int, ...], chosen: RecordedEpochs, last: int
) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a choice of epochs, where there are `last`."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if isinstance(chosen, EpochList):
        late = [epoch for epoch in chosen.epochs if epoch > last]
        if late:
            found.append(((*where, "epochs"), f"{late} do not exist: train.epochs is {last}"))
        if len(set(chosen.epochs)) < len(chosen.epochs):
            found.append(((*where, "epochs"), "names an epoch twice"))
    elif isinstance(chosen, First) and chosen.count > last:
        found.append(((*where, "count"), f"is more than there are: train.epochs is {last}"))
    elif isinstance(chosen, Every) and chosen.interval > last:
        found.append(((*where, "interval"), f"would record nothing: train.epochs is {last}"))
    return found


def _labels_problem(name: str, params: Params) -> list[str]:
    variant = params.variants[name]
    base = base_variant(variant)
    if isinstance(variant, FromFile):
        if base is not None or variant.labels.rstrip("/") == PREPARED:
            return ["should be the file with the labels that people gave"]
        return []
    if base is None:
        if variant.labels.rstrip("/") != PREPARED:
            return [f"should be {PREPARED} or {VARIANTS}/NAME (kind: from_file reads a file)"]
        return []
    chain = [name]
    if base not in params.variants:
        return [f"there is no variant {base!r}; there are: {', '.join(params.variants)}"]
    while base is not None and base in params.variants:
        if base == name:
            return [f"the variant refers to itself: {' -> '.join([*chain, base])}"]
        if base in chain:
            return []  # a circle that this variant leads to but is not part of: said at its members
        chain.append(base)
        base = base_variant(params.variants[base])
    if isinstance(variant, PixelNoise):
        randomized = [other for other in chain[1:] if isinstance(params.variants[other], PixelNoise)]
        return [f"the variant {other!r} has randomized pixels already" for other in randomized[:1]]
    return []


def base_variant(variant: Variant) -> str | None:
    """The name of the variant that `variant` starts from, or None."""
    path = PurePosixPath(variant.labels)
    return path.name if str(path.parent) == VARIANTS else None


def mistake(*loc: str, message: str) -> InputError:
    """An error that a stage finds in params.yaml, with the line of the key."""
    try:
        line = read_yaml(PARAMS_FILE).line(loc)
    except InputError:
        line = None
    return InputError([Problem(PARAMS_FILE, line, loc, message)])


def load(path: Path = PARAMS_FILE, *, tune: bool = False) -> Params:
    """Read and check a parameter file; `InputError` with every mistake in it.

    `tune`: also whether the section `tune`, which no stage reads, fits the others.
    """
    return validate(Params, read_yaml(path), every_problem if tune else cross_field_problems)


def every_problem(params: Params) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong between sections."""
    searched = [(("tune", *where), text) for where, text in tune_problems(params.tune, params)]
    return [*cross_field_problems(params), *searched]
