"""The code of networks of the user's project (`kind: python`).

It does not import torch, which takes seconds.
"""

from __future__ import annotations

import ast
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from memtrack.config.sections.train import ModelParams, OwnModel
from memtrack.core.module_files import module_file
from memtrack.runs.code import ProjectCode, project_code

KNOWN = frozenset({"torch", "torchvision", "numpy"})
"""Packages whose versions every fingerprint has."""


def own_code(chosen: ModelParams) -> ProjectCode | None:
    """The code that makes the network; None if it is no network of the project.

    Raises:
        InputError: if the file or the function in it is not there, or a file is no Python.
    """
    if not isinstance(chosen, OwnModel):
        return None
    module, _, function = chosen.make.partition(":")
    root = Path.cwd()
    try:
        code = project_code(root, module)
    except FileNotFoundError as error:
        raise chosen.mistake("make", message=str(error)) from None
    except SyntaxError as error:
        text = f"{error.filename}:{error.lineno}: {error.msg}"
        raise chosen.mistake("make", message=text) from None
    except UnicodeDecodeError as error:
        raise chosen.mistake("make", message=f"a file is not in UTF-8: {error}") from None
    path = module_file(root, module)
    assert path is not None
    names = _defined(ast.parse(path.read_text(encoding="utf-8")))
    if names is not None and function not in names:
        there = ", ".join(sorted(name for name in names if not name.startswith("_")))
        raise chosen.mistake(
            "make", message=f"{path} does not define {function!r}; it defines {there or 'nothing'}"
        )
    return code


def own_packages(code: ProjectCode) -> list[str]:
    """Name and version of each package that the code imports."""
    found = []
    for name in sorted(code.packages - KNOWN):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # the package has another name than its modules
            found += [f"{other} {version(other)}" for other in packages_distributions().get(name, ())]
    return found


def _defined(tree: ast.Module) -> set[str] | None:
    """The names that a module defines, functions first of all; None if only running it tells."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name="*"):
                return None
            case ast.alias(name=name, asname=other):
                names.add(other or name)
    return None if "__getattr__" in names else names
