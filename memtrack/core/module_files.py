"""Finds the file of a module in a project. It does not import torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path


def module_file(root: Path, module: str) -> Path | None:
    """The file of a module, such as networks.resnet, in the project `root`; None if it has none."""
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def missing_module(root: Path, module: str) -> str:
    """What is wrong if a project does not have a module, and what to do."""
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    return f"{path}: no such file (for a network of an installed package, write a file that imports it)"
