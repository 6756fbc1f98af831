"""Section `train`: the network and how it is trained."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    model_validator,
)

from memtrack.config.sections.augment import Augment
from memtrack.config.sections.base import Broken, Epochs, InputPath, Section, Seed, Share, inside_or_absolute
from memtrack.config.sections.robust import RobustParams
from memtrack.config.yaml_file import Loc

Dropout = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1000)]
TrainingBatch = Annotated[int, Field(ge=2, le=1_000_000)]
WeightDecay = Annotated[float, Field(ge=0, le=100)]


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


WEIGHTS_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""What the name of a file of weights ends with."""


def is_weights_file(weights: str | None) -> bool:
    """Whether `weights` is the path of a file, and not the name of weights that a library offers."""
    return weights is not None and ("/" in weights or weights.endswith(WEIGHTS_FILES))


def _weights(text: str) -> str:
    if not is_weights_file(text):
        return text
    if not text.endswith(WEIGHTS_FILES):
        raise ValueError(f"should end with {', '.join(WEIGHTS_FILES[:-1])} or {WEIGHTS_FILES[-1]}")
    return inside_or_absolute(text)


def _function(text: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", text):
        raise ValueError(
            "should be MODULE:FUNCTION, such as networks.resnet:build (function build, networks/resnet.py)"
        )
    return text


def _layers(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value in ("all", "head") or (whole and 1 <= value <= 1000):
        return value
    raise ValueError("should be all, head, or a number of blocks")


TrainedLayers = Annotated[
    Literal["all", "head"] | Annotated[int, Field(ge=1, le=1000)], BeforeValidator(_layers)
]
ChannelMeans = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], ...], Strict(False), Field(min_length=1, max_length=3)
]
ChannelDeviations = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...], Strict(False), Field(min_length=1, max_length=3)
]


class Pretrainable(Section):
    """The keys of networks that may start from pretrained weights."""

    weights: Annotated[str, Field(min_length=1), AfterValidator(_weights)] | None = Field(
        None,
        description="The weights to start from: a file (.safetensors, or a state dict that torch saved), or "
        "a name; null: random ones. The layer with one output per class is always new.",
    )
    input_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="Images are resized to this width and height before the network; null: to the size that "
        "weights with a name are for, otherwise not at all.",
    )
    mean: ChannelMeans | None = Field(
        None,
        description="The mean of each channel (pixels in [0, 1]) that the weights are for. null: that of "
        "weights with a name; weights from a file need it.",
    )
    std: ChannelDeviations | None = Field(None, description="The standard deviation, likewise.")
    train_layers: TrainedLayers = Field(
        "all", description="all; head: the layer with one output per class; 2: also the last two blocks."
    )
    backbone_lr: Annotated[float, Field(gt=0, le=1000)] = Field(
        1.0, description="Factor of the learning rate for all layers but the head."
    )

    @property
    def weights_from_file(self) -> bool:
        """Whether `weights` is the path of a file."""
        return is_weights_file(self.weights)

    @model_validator(mode="after")
    def _statistics_of_both(self) -> Pretrainable:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std should be given together")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError("mean and std should have a number for each channel")
        if self.mean is None and self.weights_from_file:
            raise ValueError(
                "weights from a file need the mean and the std that the network was trained with: "
                "`mean: [0.485, 0.456, 0.406]` and `std: [0.229, 0.224, 0.225]` for ImageNet's; "
                "data/prepared/dataset.json has those of these images"
            )
        return self


class Library(Pretrainable):
    """The keys of networks of a library, which also has weights for them."""

    weights_folder: InputPath | None = Field(
        None,
        description="The folder where weights with a name are looked for, and downloaded to if they are not "
        "there; null: the library's cache.",
    )

    @model_validator(mode="after")
    def _something_is_pretrained(self) -> Library:
        if self.weights is None and (self.train_layers != "all" or self.backbone_lr != 1.0):
            raise ValueError("train_layers and backbone_lr need weights: nothing here is pretrained")
        return self


class TorchvisionModel(Library):
    """A torchvision classifier, pretrained or with its stem adapted to small images."""

    kind: Literal["torchvision"]
    name: str = Field("resnet18", description="A name that torchvision.models.list_models() lists.")
    small_stem: bool | None = Field(
        None,
        description="Do not shrink the image in the first layers (for images up to 64 pixels); null: yes, "
        "but not if there are weights or an input_size.",
    )

    @model_validator(mode="after")
    def _weights_fit_the_stem(self) -> TorchvisionModel:
        if self.small_stem and self.weights is not None:
            raise ValueError(
                "small_stem: true replaces layers that the weights are for; input_size enlarges small images"
            )
        return self


class TimmModel(Library):
    """A classifier of timm (`pip install 'memtrack[timm]'`)."""

    kind: Literal["timm"]
    name: Annotated[str, Field(min_length=1)] = Field(
        description="A name that timm.list_models() lists; with weights also NAME.TAG."
    )
    options: dict[str, Any] = Field({}, description="More arguments for timm.create_model.")


class OwnModel(Pretrainable):
    """A network that a function in a file of the project makes."""

    kind: Literal["python"]
    make: Annotated[str, AfterValidator(_function)] = Field(
        description="MODULE:FUNCTION, such as networks.resnet:build. The function takes the shape of an "
        "image (channels, height, width), the number of classes and the options, and returns an nn.Module."
    )
    options: dict[str, Any] = Field({}, description="More arguments for the function.")

    @model_validator(mode="after")
    def _weights_are_a_file(self) -> OwnModel:
        if self.weights is not None and not self.weights_from_file:
            raise ValueError("weights of an own network should be the path of a file")
        return self


ModelParams = Annotated[Cnn | Mlp | TorchvisionModel | TimmModel | OwnModel, Field(discriminator="kind")]


class Sgd(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    lr: LearningRate = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: WeightDecay = 0.0005

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true requires a momentum above 0")
        return self


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    lr: LearningRate = 0.001
    weight_decay: WeightDecay = 0.01


OptimizerParams = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Constant(Section):
    """The learning rate stays constant."""

    kind: Literal["constant"]


class Step(Section):
    """The learning rate is multiplied by `factor` after each of the `milestones` (epochs)."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Epochs, ...], Strict(False), Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Cosine(Section):
    """The learning rate falls to zero along half a cosine."""

    kind: Literal["cosine"]


class OneCycle(Section):
    """The learning rate rises during the share `warmup` of the training, then falls."""

    kind: Literal["one_cycle"]
    warmup: Share = 0.3


ScheduleParams = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="kind")]


class RecipeParams(Section):
    """A network and how it is trained."""

    epochs: Epochs
    batch_size: TrainingBatch = 64
    model: ModelParams
    optimizer: OptimizerParams
    schedule: ScheduleParams


class TrainParams(RecipeParams, RobustParams):
    """How the network is trained."""

    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None,
        description="Extra processes that read image files and apply train.augment.transforms; 0: the "
        "training process does; null: one less than there are cores, but none if the decoded images are kept "
        "(compute.image_cache) and there are no transforms.",
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="Precision of the training's arithmetic; auto: bfloat16 on a GPU that computes with it, "
        "otherwise float32.",
    )
    compile: bool = Field(False, description="Compile the network for the training (torch.compile).")
    deterministic: bool = Field(
        True,
        description="The same seed gives the same weights on a GPU, too; false lets it choose the "
        "fastest way.",
    )
    augment: Augment = Field(default_factory=Augment)


def schedule_problems(where: Loc, recipe: RecipeParams) -> Broken:
    """The problem if milestones of the learning rate come after the last epoch."""
    if not isinstance(recipe.schedule, Step):
        return []
    late = [epoch for epoch in recipe.schedule.milestones if epoch > recipe.epochs]
    text = f"{late} are after the last epoch: {'.'.join(map(str, where))}.epochs is {recipe.epochs}"
    return [((*where, "schedule", "milestones"), text)] if late else []
