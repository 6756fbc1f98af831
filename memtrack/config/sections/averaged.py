"""Section `averaged`: which variants are trained several times, to average their scores."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    model_serializer,
)

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


class OtherTraining(Section):
    """What another training changes in section `train`. A key that is left out stays as it is there."""

    seed: Seed = Field(0, description="Another seed, for the training and for the probes.")
    epochs: Epochs | None = None
    batch_size: TrainingBatch | None = None
    model: ModelParams | None = None
    optimizer: OptimizerParams | None = None
    schedule: ScheduleParams | None = None
    loss: LossParams | None = None
    mixup: Positive | None = None
    average: Share | None = None
    sam: Positive | None = None
    co_training: JoCoR | None = None
    augment: Augment | None = None

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
