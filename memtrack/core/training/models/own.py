"""Networks that a function in a file of the user's project makes."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from torch import nn

from memtrack.core.module_files import missing_module, module_file
from memtrack.core.training.models.shape import Shape


class WrongFunction(ValueError):
    """The function is not there, or does not make a network; `key` is the parameter to look at."""

    def __init__(self, key: Literal["make", "options"], text: str) -> None:
        super().__init__(text)
        self.key = key


def own_network(shape: Shape, classes: int, *, root: str, make: str, options: Mapping[str, Any]) -> nn.Module:
    """The network that a function of the project makes.

    Args:
        root: the folder of the project.
        make: MODULE:FUNCTION. The file of the module must be in the project.
        options: more arguments for the function.

    Raises:
        WrongFunction: if there is no such function, if it does not take these arguments, fails, or returns
            something else than a network.
    """
    function = own_function(Path(root), make)
    _check_arguments(function, make, options)
    try:
        model = function(shape, classes, **options)
    except Exception as error:
        raise WrongFunction("make", f"{make} failed: {described(error, Path(root))}") from error
    if not isinstance(model, nn.Module):
        raise WrongFunction("make", f"{make} returned {_kind(model)}: it should return a torch.nn.Module")
    return model


def own_function(root: Path, make: str) -> Callable[..., Any]:
    """The function MODULE:FUNCTION; raises a `WrongFunction` if it is not there."""
    name, _, wanted = make.partition(":")
    file = module_file(root, name)
    if file is None:
        raise WrongFunction("make", missing_module(root, name))
    module = _imported(root, name, file)
    function = getattr(module, wanted, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        raise WrongFunction(
            "make", f"{file} has no function {wanted!r}; it has {', '.join(there) or 'no functions'}"
        )
    return function


def _imported(root: Path, name: str, file: Path) -> ModuleType:
    """Import a module of the project, from its file alone."""
    head = name.partition(".")[0]
    _make_way(head, root)
    if str(root) not in sys.path:  # it stays: functions may import more modules of the project
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()  # the file may be new
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise WrongFunction("make", f"{file} cannot be imported: {described(error, root)}") from error
    if Path(str(getattr(module, "__file__", ""))) != file:
        raise _taken(head, root)
    return module


def _make_way(head: str, root: Path) -> None:
    """Forget what this process imported of a package of this name from another project.

    Raises:
        WrongFunction: if an installed package has this name.
    """
    for name, module in [*sys.modules.items()]:
        if name != head and not name.startswith(f"{head}."):
            continue
        places = [
            place for place in (getattr(module, "__file__", None), *getattr(module, "__path__", ())) if place
        ]
        if places and all(Path(place).is_relative_to(root) for place in places):
            continue
        if head in sys.stdlib_module_names or any("-packages" in str(place) for place in places):
            raise _taken(head, root)
        del sys.modules[name]


def _taken(head: str, root: Path) -> WrongFunction:
    text = f"{head} is also the name of a package that is installed: rename {root / head}, and `make` with it"
    return WrongFunction("make", text)


def _check_arguments(function: Callable[..., Any], make: str, options: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables have none
        return
    shown = f"{make.partition(':')[2]}{signature}"
    try:
        signature.bind_partial((1, 1, 1), 2)
    except TypeError:
        text = f"{shown} should take the shape of an image and the number of classes first"
        raise WrongFunction("make", text) from None
    try:
        signature.bind((1, 1, 1), 2, **options)
    except TypeError as error:
        raise WrongFunction("options", f"do not fit {shown}: {error}") from None


def described(error: BaseException, root: Path) -> str:
    """An error with the last line of the project that was running."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    where = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return f"{where}{type(error).__name__}: {error}"


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
