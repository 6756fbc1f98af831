"""Data sources: one module for each kind, with a function `collect`."""

from __future__ import annotations

from memtrack.config.sections.data import DataParams, Digits, ImageFolder, Table, Torchvision
from memtrack.data.sources.collected import Collected


def collect(params: DataParams) -> Collected:
    """All samples of the source that `params` describes."""
    # the module of a kind is imported only when it is used: torchvision takes seconds
    match params:
        case Digits():
            from memtrack.data.sources import digits

            return digits.collect(params)
        case Torchvision():
            from memtrack.data.sources import torchvision

            return torchvision.collect(params)
        case ImageFolder():
            from memtrack.data.sources import image_folder

            return image_folder.collect(params)
        case Table():
            from memtrack.data.sources import table

            return table.collect(params)


__all__ = ["Collected", "collect"]
