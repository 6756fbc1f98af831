"""Section `averaged`: which variants are trained several times, to average their scores."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from memtrack.config.sections.augment import Augment
from memtrack.config.sections.base import Broken, Epochs, Section, Seed, Share, VariantNames, different
from memtrack.config.sections.robust import JoCoR, LossParams, Positive
from memtrack.config.sections.train import (
    ModelParams,
    OptimizerParams,
    ScheduleParams,
    TrainingBatch,
    TrainParams,
)
from memtrack.config.yaml_file import Loc

T = TypeVar("T")


def _given(value: object) -> object:
    """Return the value; raises a ValueError for null."""
    if value is None:
        raise ValueError("should have a value; leave the key out to keep the one of section train")
    return value


class _WithoutNull:
    """The JSON Schema of a type without its null."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return next(kind for kind in handler(core)["anyOf"] if kind != {"type": "null"})


Changed = Annotated[T | None, BeforeValidator(_given), _WithoutNull()]
"""A key that has no null in section `train`. None: it is left out."""


class OtherTraining(Section):
    """What another training changes in section `train`. A key that is left out stays as it is there."""

    seed: Seed = Field(0, description="Another seed, for the training and for the probes.")
    epochs: Changed[Epochs] = None
    batch_size: Changed[TrainingBatch] = None
    model: Changed[ModelParams] = None
    optimizer: Changed[OptimizerParams] = None
    schedule: Changed[ScheduleParams] = None
    loss: Changed[LossParams] = None
    mixup: Positive | None = None
    average: Share | None = None
    sam: Positive | None = None
    co_training: JoCoR | None = None
    augment: Changed[Augment] = None

    @property
    def key(self) -> str:
        """A name for the training that says what it is, wherever it stands in the list."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json")).encode()).hexdigest()[:12]

    @model_serializer(mode="wrap")
    def _changes(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}

    def of(self, train: TrainParams) -> TrainParams:
        """Section `train` with the changes; raises a pydantic `ValidationError` if they do not fit it."""
        found = TrainParams.model_validate({**train.model_dump(), **self.model_dump()})
        if self._file is not None:
            found.place(self._file, self._loc)
        return found

    def problems(self, where: Loc, train: TrainParams) -> Broken:
        """What is wrong with the changes."""
        try:
            changed = self.of(train)
        except ValidationError as error:
            detail = error.errors()[0]
            text = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
            return [((*where, *detail["loc"][:1]), text)]
        if changed.model_dump() != train.model_dump():
            return []
        text = "changes nothing in train, and this training is there already: give another seed or key"
        return [(where, text)]


class AveragedParams(Section):
    """More trainings of a variant. The scores `averaged_suspicion` and others are the mean ranks of a score
    in them and in the training of stage `train`."""

    variants: VariantNames = Field((), description="The variants to do this for; []: none.")
    trainings: Annotated[
        tuple[OtherTraining, ...],
        Strict(False),
        Field(min_length=1, max_length=100),
        AfterValidator(different),
    ] = Field(
        (OtherTraining(seed=1), OtherTraining(seed=2)),
        description="The trainings; each entry says what it changes in section `train`.",
    )
