"""Section `tune.recipe`: what `memtrack tune --recipe` searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from memtrack.config.sections.base import Broken, Choices, Epochs, Section, Share
from memtrack.config.sections.robust import LossParams, Positive
from memtrack.config.sections.train import Dropout, LearningRate, TrainParams, WeightDecay

Width = Annotated[int, Field(ge=1, le=16384)]
Pixels = Annotated[int, Field(ge=0, le=64)]
Loss = Literal[
    "cross_entropy", "symmetric_cross_entropy", "generalized_cross_entropy", "early_learning"
]  # the kinds of `train.loss`
T = TypeVar("T")


class NumberRange(Section):
    """A range of numbers, both ends included."""

    low: float
    high: float


class WholeRange(Section):
    """A range of whole numbers, both ends included."""

    low: int
    high: int


Range = NumberRange | WholeRange
Searched = tuple[Any, ...] | Range
"""What is searched of a key: choices, or a range."""
FORM = "should be a list of choices, or a range {low: ..., high: ...}"


def _of(element: Any, *, ranges: bool = True) -> BeforeValidator:
    """Check each choice, or both ends of the range, before pydantic tries the members of a union."""
    adapter: TypeAdapter[Any] = TypeAdapter(element)

    def check(value: Any) -> Any:
        if value is None or isinstance(value, (NumberRange, WholeRange)):
            return value
        if isinstance(value, dict) and ranges:
            if set(value) != {"low", "high"} or None in value.values():
                raise ValueError(FORM)
            parts = [value["low"], value["high"]]
        elif isinstance(value, (list, tuple)) and value:
            parts = list(value)
            if any(part in parts[:number] for number, part in enumerate(parts)):
                raise ValueError("names a choice twice")
        else:
            raise ValueError(FORM if ranges else "should be a list of choices")
        for part in parts:
            try:
                adapter.validate_python(part, strict=True)
            except ValidationError as error:
                text = error.errors()[-1]["msg"].replace("Input should", "should")
                raise ValueError(f"{part}: {text}") from None
        if isinstance(value, dict) and parts[0] >= parts[1]:
            raise ValueError("low should be below high")
        return value

    return BeforeValidator(check)


class RecipeSearchParams(Section):
    """What `memtrack tune --recipe` searches: for each key choices, or a range. A key that is left out keeps
    the value of `train`. Without any of these keys, a default selection of them is searched."""

    loss: Annotated[Choices[Loss] | None, _of(Loss, ranges=False)] = Field(
        None, description="Kinds of train.loss. Another kind than that of `train` has its default keys."
    )
    dropout: Annotated[Choices[Dropout] | NumberRange | None, _of(Dropout)] = Field(
        None, description="train.model.dropout, of cnn and mlp."
    )
    width: Annotated[Choices[Width] | WholeRange | None, _of(Width)] = Field(
        None, description="train.model.width, of cnn and mlp; a range is searched on a log scale."
    )
    epochs: Annotated[Choices[Epochs] | WholeRange | None, _of(Epochs)] = Field(
        None, description="train.epochs."
    )
    lr: Annotated[Choices[LearningRate] | NumberRange | None, _of(LearningRate)] = Field(
        None, description="train.optimizer.lr; a range is searched on a log scale."
    )
    weight_decay: Annotated[Choices[WeightDecay] | NumberRange | None, _of(WeightDecay)] = Field(
        None,
        description="train.optimizer.weight_decay; a range is searched on a log scale and begins above 0.",
    )
    mixup: Annotated[Choices[Positive | None] | NumberRange | None, _of(Positive | None)] = Field(
        None, description="train.mixup; null among the choices: off."
    )
    average: Annotated[Choices[Share | None] | NumberRange | None, _of(Share | None)] = Field(
        None, description="train.average; null among the choices: off."
    )
    sam: Annotated[Choices[Positive | None] | NumberRange | None, _of(Positive | None)] = Field(
        None, description="train.sam; null among the choices: off."
    )
    crop: Annotated[Choices[Pixels] | WholeRange | None, _of(Pixels)] = Field(
        None, description="train.augment.crop."
    )
    flip: Annotated[Choices[bool] | None, _of(bool, ranges=False)] = Field(
        None, description="train.augment.flip."
    )
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        30, description="Number of finished trials of the study, over all its runs. Each one trains."
    )
    draws: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="Each trial trains so often, each time with other flipped labels."
    )
    share: Share = Field(0.1, description="The share of the samples whose labels are flipped.")
    trusted: Share = Field(
        0.7, description="Labels are flipped among this share of the samples, the least suspect ones."
    )

    @model_validator(mode="after")
    def _ranges_fit(self) -> RecipeSearchParams:
        for key in LOG_SCALES:
            found = getattr(self, key)
            if isinstance(found, (NumberRange, WholeRange)) and found.low <= 0:
                raise ValueError(f"{key} is searched on a log scale: low should be above 0")
        return self

    def searched(self, train: TrainParams, check: Callable[[TrainParams], Broken]) -> dict[str, Searched]:
        """What is searched of each key: what is given, or a default selection as far as it fits."""
        given = {key: found for key in PLACES if (found := getattr(self, key)) is not None}
        if given:
            return given
        lr = train.optimizer.lr
        default: dict[str, Searched] = {
            "loss": get_args(Loss),
            "dropout": NumberRange(low=0.0, high=0.6),
            "epochs": WholeRange(low=max(1, train.epochs // 2), high=train.epochs)
            if train.epochs > 1
            else (1,),
            "lr": NumberRange(low=lr / 4, high=min(2 * lr, 1000.0)),
            "mixup": (None, 1.0),
        }
        return {key: found for key, found in default.items() if not _problem(key, found, train, check)}


PLACES: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "dropout": ("model", "dropout"),
    "width": ("model", "width"),
    "epochs": ("epochs",),
    "lr": ("optimizer", "lr"),
    "weight_decay": ("optimizer", "weight_decay"),
    "mixup": ("mixup",),
    "average": ("average",),
    "sam": ("sam",),
    "crop": ("augment", "crop"),
    "flip": ("augment", "flip"),
}
"""Where each key that can be searched is in `train`."""
LOG_SCALES = ("width", "lr", "weight_decay")
_LOSS: TypeAdapter[Any] = TypeAdapter(LossParams)


def current(train: TrainParams, key: str) -> Any:
    """The value of `train` that a key of the search stands for; for the loss its kind."""
    found: Any = train
    for part in PLACES[key]:
        found = getattr(found, part)
    return found.kind if key == "loss" else found


def with_recipe(train: TrainParams, values: Mapping[str, Any]) -> TrainParams:
    """The section `train` with other values for some keys of the search; ValidationError if they do not fit
    together."""
    content = train.model_dump()
    for key, value in values.items():
        *outer, last = PLACES[key]
        section: dict[str, Any] = content
        for part in outer:
            section = section[part]
        if key != "loss":
            section[last] = value
        elif value != train.loss.kind:
            section[last] = _LOSS.validate_python({"kind": value}).model_dump()
    return TrainParams.model_validate(content)


def recipe_problems(
    search: RecipeSearchParams, train: TrainParams, check: Callable[[TrainParams], Broken]
) -> Broken:
    """What in a search does not fit `train`; `check` finds what does not fit the other sections."""
    found = ((key, getattr(search, key)) for key in PLACES)
    return [
        (("recipe", key), text)
        for key, wanted in found
        if wanted is not None and (text := _problem(key, wanted, train, check))
    ]


def _problem(
    key: str, wanted: Searched, train: TrainParams, check: Callable[[TrainParams], Broken]
) -> str | None:
    """Why a value of a key does not fit, or None."""
    section, name = PLACES[key][0], PLACES[key][-1]
    if section in ("model", "optimizer") and name not in type(getattr(train, section)).model_fields:
        return f"train.{section}.kind is {getattr(train, section).kind}, which has no {name}: leave it out"
    before = check(train)
    ends = wanted if isinstance(wanted, tuple) else (wanted.low, wanted.high)
    for value in ends:
        try:
            problems = [
                problem for problem in check(with_recipe(train, {key: value})) if problem not in before
            ]
        except ValidationError as error:
            text = error.errors()[-1]["msg"].removeprefix("Value error, ").replace("Input should", "should")
            return f"{value} does not fit train: {text}"
        if problems:
            loc, text = problems[0]
            return f"{value} does not fit {'.'.join(map(str, loc))}: {text}"
    return None
