"""Section `train.augment`: random changes to training images."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, Strict, model_validator

from memtrack.config.sections.base import Section
from memtrack.config.validation import nearest

TRANSFORMS = (
    "AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur", "GaussianNoise", "JPEG",
    "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast", "RandomChannelPermutation",
    "RandomCrop", "RandomEqualize", "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip",
    "RandomInvert", "RandomPerspective", "RandomPhotometricDistort", "RandomPosterize", "RandomResizedCrop",
    "RandomRotation", "RandomSolarize", "RandomVerticalFlip", "TrivialAugmentWide",
)  # fmt: skip
"""The transforms of torchvision.transforms.v2 that turn an image into another one of the same size."""
REFUSED = {
    "it mixes images with different labels; train.mixup does that": ("CutMix", "MixUp"),
    "it makes several images of one": ("FiveCrop", "TenCrop"),
    "it changes the size of the images": (
        "CenterCrop", "Pad", "RandomResize", "RandomShortestSize", "RandomZoomOut", "Resize", "ScaleJitter",
    ),
    "it takes other transforms or functions": (
        "Compose", "Lambda", "RandomApply", "RandomChoice", "RandomOrder",
    ),
    "it changes nothing at random": (
        "ConvertImageDtype", "Grayscale", "Identity", "LinearTransformation", "Normalize", "PILToTensor",
        "RGB", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor",
    ),
    "it is for boxes, key points or videos": (
        "ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "RandomIoUCrop",
        "SanitizeBoundingBoxes", "SanitizeKeyPoints", "SetClampingMode", "UniformTemporalSubsample",
    ),
}  # fmt: skip
"""Why the other transforms cannot be used."""


def _usable(name: str) -> str:
    if name in TRANSFORMS:
        return name
    reason = next((reason for reason, names in REFUSED.items() if name in names), None)
    allowed = f" (allowed: {', '.join(TRANSFORMS)})"
    if reason is not None:
        raise ValueError(f"cannot be used: {reason}{allowed}")
    raise ValueError(f"no such transform of images{nearest(name, TRANSFORMS)}{allowed}")


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return (
        value is None or isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
    )


class Transform(Section):
    """A transform of torchvision.transforms.v2. Its other keys are torchvision's own options."""

    model_config = ConfigDict(extra="allow")
    name: Annotated[str, AfterValidator(_usable)] = Field(
        description="Which one; its options are keys beside it.", json_schema_extra={"enum": list(TRANSFORMS)}
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options that are given."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _has_keys(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"should have keys: write {{name: {value}}}")
        return value

    @model_validator(mode="after")
    def _plain_options(self) -> Transform:
        wrong = [name for name, value in self.options.items() if not _finite(value)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: should be a number, a text, or a list of them")
        return self


class Augment(Section):
    """Random changes to each training image; never used when recording."""

    crop: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Shift by up to this many pixels (zero padding); 0: off."
    )
    flip: bool = Field(False, description="Mirror each image left to right with probability 1/2.")
    transforms: Annotated[tuple[Transform, ...], Strict(False)] = Field(
        (), description="Transforms of torchvision.transforms.v2, applied in this order before crop and flip."
    )
