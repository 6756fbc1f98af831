"""Section `curvature`: how the curvature is estimated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Broken, Scale, Section, Seed
from memtrack.config.yaml_file import Loc
from memtrack.core.recording.precision import SMALLEST_SCALE, Precision

Probes = Annotated[int, Field(ge=1, le=10_000)]


class CurvatureParams(Section):
    """How the curvature is estimated."""

    method: Literal["forward", "central", "hessian"] = Field(
        "forward",
        description="forward: the paper's finite difference; central: the difference to both sides; hessian: "
        "the exact product of Hessian and probe, which does not use perturbation_scale.",
    )
    perturbation_scale: Scale = Field(
        description="h, the length of the step along each entry of a probe, in normalized input units."
    )
    probes: Probes = Field(description="n, the number of random directions.")
    norm: Literal["plain", "squared"] = Field(
        "plain", description="plain: as in the authors' code; squared: as in the paper's formula."
    )
    seed: Seed = 0


def smallest_scale(precision: Precision | Literal["auto"]) -> float:
    """The smallest h at record.precision."""
    return SMALLEST_SCALE["float32" if precision == "auto" else precision]


def scale_problems(where: Loc, scale: float, precision: Precision | Literal["auto"], method: str) -> Broken:
    """The problem if h is too small for the precision of the sweep."""
    least = smallest_scale(precision)
    if scale >= least or method == "hessian":
        return []
    text = (
        f"should be at least {least} at record.precision: {precision}, otherwise the difference of the "
        "gradients is lost in rounding"
    )
    return [(where, text)]
