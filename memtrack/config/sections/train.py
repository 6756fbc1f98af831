"""Section `train`: the network and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    Strict,
    model_validator,
)

from memtrack.config.sections.augment import Augment
from memtrack.config.sections.base import Broken, Epochs, Section, Seed, Share
from memtrack.config.yaml_file import Loc

Dropout = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1000)]
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


class TorchvisionModel(Section):
    """An untrained torchvision classifier, with its stem adapted to small images."""

    kind: Literal["torchvision"]
    name: str = Field("resnet18", description="A name that torchvision.models.list_models() lists.")
    small_stem: bool = Field(
        True,
        description="Do not shrink the image in the first layers (for images up to 64 pixels).",
    )


ModelParams = Annotated[Cnn | Mlp | TorchvisionModel, Field(discriminator="kind")]


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
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    model: ModelParams
    optimizer: OptimizerParams
    schedule: ScheduleParams


class TrainParams(RecipeParams):
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
    compile: bool = Field(
        False, description="Compile the network for the training (torch.compile), which takes a minute."
    )
    deterministic: bool = Field(
        True, description="The same seed gives the same weights on a GPU, too; false is faster there."
    )
    augment: Augment = Field(default_factory=Augment)


def schedule_problems(where: Loc, recipe: RecipeParams) -> Broken:
    """The problem if milestones of the learning rate come after the last epoch."""
    if not isinstance(recipe.schedule, Step):
        return []
    late = [epoch for epoch in recipe.schedule.milestones if epoch > recipe.epochs]
    text = f"{late} are after the last epoch: {'.'.join(map(str, where))}.epochs is {recipe.epochs}"
    return [((*where, "schedule", "milestones"), text)] if late else []
