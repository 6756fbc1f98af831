"""The repository that a folder is in."""

from __future__ import annotations

from pathlib import Path


def nearest_with(name: str, folder: Path, top: Path = Path("/")) -> Path | None:
    """The nearest folder that has an entry of this name, from `folder` upward to `top`."""
    folders = (one for one in (folder, *folder.parents) if one.is_relative_to(top))
    return next((one for one in folders if (one / name).exists()), None)
