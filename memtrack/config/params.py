"""params.yaml as a whole, and the rules between its sections.

Each section is a frozen pydantic model. Where there is a choice (source, noise, model, schedule), the
key `kind` selects it. `load` returns the whole file, or raises an `InputError` that lists every mistake.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from memtrack.config.sections.averaged import AveragedParams, OtherTraining
from memtrack.config.sections.base import PARAMS_FILE, Broken, Section, VariantName
from memtrack.config.sections.clean import CleanParams
from memtrack.config.sections.compute import ComputeParams
from memtrack.config.sections.curvature import CurvatureParams, scale_problems
from memtrack.config.sections.data import OUTPUTS, VECTORS, DataParams
from memtrack.config.sections.duplicates import DuplicatesParams
from memtrack.config.sections.evaluate import EvaluateParams, window_problem
from memtrack.config.sections.halves import HalvesParams
from memtrack.config.sections.layers import LayersParams
from memtrack.config.sections.memorization import MemorizationParams
from memtrack.config.sections.recipe_search import recipe_problems
from memtrack.config.sections.record import RecordedEpochs, RecordParams, epochs_problems
from memtrack.config.sections.repeat import RepeatParams
from memtrack.config.sections.report import ReportParams
from memtrack.config.sections.suspects import SuspectsParams
from memtrack.config.sections.tracking import TrackingParams
from memtrack.config.sections.train import RecipeParams, TrainParams, schedule_problems
from memtrack.config.sections.tune import TuneParams
from memtrack.config.sections.utility import UtilityParams
from memtrack.config.sections.variants import VariantParams, labels_problem
from memtrack.config.validation import nearest, validate
from memtrack.config.yaml_file import Loc, SourceFile, read_yaml
from memtrack.core.scores import Need, needs


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    variants: Annotated[dict[VariantName, VariantParams], Field(min_length=1)]
    train: TrainParams
    record: RecordParams
    curvature: CurvatureParams
    evaluate: EvaluateParams = Field(default_factory=EvaluateParams)
    suspects: SuspectsParams = Field(default_factory=SuspectsParams)
    averaged: AveragedParams = Field(default_factory=AveragedParams)
    halves: HalvesParams = Field(default_factory=HalvesParams)
    layers: LayersParams = Field(default_factory=LayersParams)
    duplicates: DuplicatesParams = Field(default_factory=DuplicatesParams)
    clean: CleanParams = Field(default_factory=CleanParams)
    report: ReportParams = Field(default_factory=ReportParams)
    repeat: RepeatParams = Field(default_factory=RepeatParams)
    memorization: MemorizationParams = Field(default_factory=MemorizationParams)
    utility: UtilityParams = Field(default_factory=UtilityParams)
    compute: ComputeParams = Field(default_factory=ComputeParams)
    tune: TuneParams = Field(default_factory=TuneParams)
    tracking: TrackingParams = Field(default_factory=TrackingParams)

    @property
    def recipe(self) -> RecipeParams:
        """The recipe of the networks that memorization is estimated with."""
        return self.memorization.recipe or self.train

    def recorded_epochs(self, chosen: RecordedEpochs | None = None) -> tuple[int, ...]:
        """The recorded epochs, or those of the choice `chosen`, in rising order; the first epoch is 1."""
        return (chosen or self.record.epochs).of(self.train.epochs)

    def with_seed(self, seed: int) -> Params:
        """The same parameters with another seed for the training and the probes; the labels stay the same."""
        changes = {
            name: getattr(self, name).model_copy(update={"seed": seed}) for name in ("train", "curvature")
        }
        return self.model_copy(update=changes)

    def with_training(self, changes: OtherTraining) -> Params:
        """The same parameters for another training."""
        changed = self.model_copy(update={"train": changes.of(self.train)})
        return changed.with_seed(changes.seed) if "seed" in changes.model_fields_set else changed

    def problems_with(self, train: TrainParams) -> Broken:
        """The broken rules between sections if section `train` were another one."""
        return cross_field_problems(self.model_copy(update={"train": train}))

    def training_run(self, variant: str) -> dict[str, Any]:
        """The parameters that a training on a variant depends on; its MLflow run logs them."""
        sections = self.model_dump(mode="json", include={"data", "train", "record", "curvature"})
        return {**sections, "variant": self.variants[variant].model_dump(mode="json")}


def load(path: Path = PARAMS_FILE, *, tune: bool = False) -> Params:
    """Read and check a parameter file; raises an `InputError` with every mistake in it.

    `tune`: also check that the section `tune`, which no stage reads, fits the others.
    """
    return checked(read_yaml(path), tune=tune)


def checked(file: SourceFile, *, tune: bool = False) -> Params:
    """The parameters of a file that was read; raises and takes what `load` does."""
    params = validate(Params, file, every_problem if tune else cross_field_problems)
    params.place(file)
    return params


def every_problem(params: Params) -> Broken:
    """The broken rules between sections, those of `tune` included."""
    searched = [(("tune", *where), text) for where, text in tune_problems(params.tune, params)]
    return [*cross_field_problems(params), *searched]


def cross_field_problems(params: Params) -> Broken:
    """(location, what is wrong) for each broken rule between sections."""
    found: Broken = []
    root = PurePosixPath(params.data.root)
    if root.is_absolute() and (here := PurePosixPath(Path.cwd())).is_relative_to(root):
        found.append((("data", "root"), "should not contain the project: give the folder of the data alone"))
    elif root.is_absolute() and root.is_relative_to(here):
        root = root.relative_to(here)
    if any(out == root or root in out.parents or out in root.parents for out in OUTPUTS):
        found.append((("data", "root"), "should not contain, or be inside, a folder that the stages write"))
    if params.data.kind in VECTORS:
        found += vector_problems(params)
    found += schedule_problems(("train",), params.train)
    alone, processes = params.train.alone(), params.compute.processes
    if alone is not None and processes not in (1, None):
        text = f"is for whole batches, and compute.processes is {processes}, which cuts them: write "
        found.append((("train", alone), f"{text}`processes: 1` in section compute, or `{alone}: null` here"))
    if params.memorization.recipe is not None:
        found += schedule_problems(("memorization", "recipe"), params.memorization.recipe)
    found += epochs_problems(("record", "epochs"), params.record.epochs, params.train.epochs)
    curvature, precision = params.curvature, params.record.precision
    where = ("curvature", "perturbation_scale")
    found += scale_problems(where, curvature.perturbation_scale, precision, curvature.method)
    if params.train.seed in params.repeat.seeds:
        text = f"{params.train.seed} is train.seed, and every variant is already trained with it"
        found.append((("repeat", "seeds"), text))
    for number, score in enumerate(params.evaluate.scores or ()):
        if problem := _score_problem(params, score):
            found.append((("evaluate", "scores", number), problem))
    for name, chosen in params.layers.variants.items():
        problem = _score_problem(params, chosen.score, name)
        if problem is None and chosen.score not in params.evaluate.asked:
            problem = "is not computed: name it in evaluate.scores"
        if problem is not None:
            found.append((("layers", "variants", name, "score"), problem))
    same: dict[str, str] = {}
    for name in params.variants:
        if (other := same.setdefault(name.lower(), name)) != name:
            text = f"differs from {other} by case alone, and macOS has one folder for both: rename it"
            found.append((("variants", name), text))
        if problem := labels_problem(name, params.variants):
            found.append((("variants", name, "labels"), problem))
    return [*found, *_averaged_problems(params), *_named_variants_problems(params)]


def _score_problem(params: Params, score: str, variant: str | None = None) -> str | None:
    """Why a score cannot be computed for a variant, or for any; None if it can."""
    needed, name = {*needs(score)}, "a variant" if variant is None else variant

    def without(variants: tuple[str, ...]) -> bool:
        return not variants if variant is None else variant not in variants

    if problem := window_problem(score, params.recorded_epochs()):
        return problem
    if Need.PRETRAINED in needed and params.suspects.pretrained is None:
        return "needs a pretrained network: describe one in suspects.pretrained"
    if Need.TRAININGS in needed and without(params.averaged.variants):
        return f"needs several trainings: name {name} in averaged.variants"
    if {Need.HALVES, Need.TURN_OVER} & needed and without(params.halves.variants):
        return f"needs networks of halves of the samples: name {name} in halves.variants"
    if Need.TURN_OVER in needed and not params.halves.turn_over:
        return "needs another network: set halves.turn_over to true"
    return None


def _averaged_problems(params: Params) -> Broken:
    """Other trainings that change nothing, or that do not fit the rest."""
    found: Broken = []
    if not params.averaged.variants:
        return found
    plain = params.model_copy(update={"averaged": AveragedParams(), "repeat": RepeatParams()})
    known = cross_field_problems(plain)
    for number, changes in enumerate(params.averaged.trainings):
        where: Loc = ("averaged", "trainings", number)
        broken = changes.problems(where, params.train)
        if not broken:
            others = plain.problems_with(changes.of(params.train))
            broken = [
                (where, f"{'.'.join(map(str, key))} would be wrong: {text}")
                for key, text in others
                if (key, text) not in known
            ]
        found += broken
    return found


def vector_problems(params: Params) -> Broken:
    """What needs images, for a source without any."""
    kind = params.data.kind
    networks: list[tuple[Loc, str]] = [(("train", "model", "kind"), params.train.model.kind)]
    if params.memorization.variants and params.memorization.recipe is not None:
        networks.append((("memorization", "recipe", "model", "kind"), params.memorization.recipe.model.kind))
    found: Broken = [
        (where, f"is for images, and data.kind is {kind}: choose mlp, or a network of your own (python)")
        for where, chosen in networks
        if chosen not in ("mlp", "python")
    ]
    augment = params.train.augment
    if augment.crop or augment.flip or augment.transforms:
        found.append((("train", "augment"), f"is for images, and data.kind is {kind}: leave it out"))
    return found + [
        (("variants", name, "kind"), f"is for images, and data.kind is {kind}")
        for name, variant in params.variants.items()
        if variant.kind == "pixels"
    ]


def _named_variants_problems(params: Params) -> Broken:
    """Variants that other sections name but that do not exist."""
    memorization, utility = params.memorization, params.utility
    named: Broken = [
        *((("suspects", "variants", number), name) for number, name in enumerate(params.suspects.variants)),
        *((("averaged", "variants", number), name) for number, name in enumerate(params.averaged.variants)),
        *((("halves", "variants", number), name) for number, name in enumerate(params.halves.variants)),
        *((("clean", "variants", name), name) for name in params.clean.variants),
        *((("layers", "variants", name), name) for name in params.layers.variants),
        *((("memorization", "variants", number), name) for number, name in enumerate(memorization.variants)),
        *((("utility", "variants", number), name) for number, name in enumerate(utility.variants)),
        *((("memorization", "published", name), name) for name in memorization.published),
    ]
    existing = f"(there are: {', '.join(params.variants)})"
    found: Broken = [
        (where, f"there is no variant {name!r}{nearest(name, params.variants)} {existing}")
        for where, name in named
        if name not in params.variants
    ]
    found += [
        (
            ("utility", "variants", number),
            f"memorization is not estimated for {name}: add it to memorization.variants",
        )
        for number, name in enumerate(utility.variants)
        if name in params.variants and name not in memorization.variants
    ]
    return found + [
        (("clean", "variants", name, "decisions"), problem)
        for name, cleaning in params.clean.variants.items()
        if (problem := cleaning.decisions_problem(name, params.suspects.variants))
    ]


def tune_problems(tune: TuneParams, params: Params) -> Broken:
    """What in a search does not fit `params`; `tune` need not come from the section `tune`."""
    scales, precision, method = tune.perturbation_scale, params.record.precision, params.curvature.method
    found = scale_problems(("perturbation_scale", "high"), scales.high, precision, method)
    if scales.low is not None:
        found += scale_problems(("perturbation_scale", "low"), scales.low, precision, method)
    for number, chosen in enumerate(tune.epochs or ()):
        found += epochs_problems(("epochs", number), chosen, params.train.epochs)
    for key, name in (("variant", tune.variant), ("held_out", tune.held_out)):
        if name is not None and name not in params.variants:
            found.append(((key,), f"there is no such variant; there are: {', '.join(params.variants)}"))
    return [*found, *recipe_problems(tune.recipe, params.train, params.problems_with)]
