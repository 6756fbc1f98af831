"""Finds the code that affects a result, by following imports."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memtrack.core.module_files import missing_module, module_file

PACKAGE = Path(__file__).parents[1]

SHAPES_NO_NUMBERS = {
    "memtrack.__init__": "names the public interface of the core",
    "memtrack.config.errors": "reports errors in an input; a stage that fails leaves no results",
    "memtrack.config.json_files": "reads and writes small JSON files without changing their values",
    "memtrack.config.validation": "rejects parameters or passes them on unchanged",
    "memtrack.config.yaml_file": "reads params.yaml as DVC does, and DVC tracks its values",
    "memtrack.core.__init__": "is empty",
    "memtrack.core.files": "writes a file completely or not at all, whatever its content, and hashes files",
    "memtrack.core.module_files": "finds the file of a module; what a network is made from is hashed itself",
    "memtrack.runs.reads": "rejects a pipeline that does not watch the files of a network",
    "memtrack.stages.__init__": "reads the command line of a stage",
    "memtrack.terminal": "progress bars, error messages and exit status",
    "memtrack.tracking": "sends results to MLflow",
}
"""Code that no result depends on, and why: modules, whole packages, and single `__init__` files. Imports are
not followed into them."""
CHECKS_ONLY = {"memtrack.config": "imports names and bounds from the core to reject parameters"}
"""Packages whose imports from other packages compute nothing. These imports are not followed."""
KNOWN_BY_VALUE = {"memtrack.config": "a fingerprint holds the parameters themselves"}
"""More code that fingerprints leave out."""
TEMPLATES = (".html", ".css", ".js")


def closure(*entries: str, left_out: Mapping[str, str] = SHAPES_NO_NUMBERS) -> list[Path]:
    """The files of memtrack that some modules run and that may affect a result, including the modules
    themselves, sorted. Imports that only type checkers follow do not count.

    Args:
        entries: names of modules, such as "memtrack.stages.train".
        left_out: code to leave out, like `SHAPES_NO_NUMBERS`.
    """
    found: set[Path] = set()
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _file(name)
        if path is None or _inside(name, left_out):
            continue
        imports, _ = _parsed(path.read_text(encoding="utf-8"))
        imports = (*imports, name.rpartition(".")[0])  # a package runs before its modules
        checking = _inside(name, CHECKS_ONLY)
        waiting += [other for other in imports if checking is None or _inside(other, {checking: ""})]
        if f"{name}.__init__" not in left_out:
            found.add(path)
    return sorted(found)


@dataclass(frozen=True)
class ProjectCode:
    """The code of a module of the user's project, and of all that it imports from there.

    Attributes:
        files: the files, sorted. packages: the names of the other packages that they import.
        digest: a hash of what the files do, and the code of memtrack that they use; see `code_hash`.
    """

    files: tuple[Path, ...]
    packages: frozenset[str]
    digest: str


def project_code(root: Path, module: str) -> ProjectCode:
    """Follow the imports of a module of the project `root`, as `closure` does for memtrack.

    Raises:
        FileNotFoundError: if the project does not have the module. SyntaxError: if a file is no Python.
    """
    if module_file(root, module) is None:
        raise FileNotFoundError(missing_module(root, module))
    found: dict[Path, str] = {}
    packages: set[str] = set()
    ours: set[str] = set()
    waiting = [module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        head = name.partition(".")[0]
        if name in seen or not name:
            continue
        seen.add(name)
        if head == "memtrack":
            ours.add(name)
            continue
        path = module_file(root, name)
        if path is None:
            if module_file(root, head) is None and not (root / head).is_dir():
                packages.add(head)
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            imports, found[path] = _parsed(path.read_text(encoding="utf-8"), package)
        except SyntaxError as error:
            error.filename = str(path)
            raise
        waiting += [*imports, name.rpartition(".")[0]]
    content = hashlib.sha256()
    for path in sorted(found):
        content.update(f"{path.relative_to(root).as_posix()}\n{found[path]}\n".encode())
    if ours:
        content.update(code_hash(*sorted(ours)).encode())
    return ProjectCode(
        tuple(sorted(found)), frozenset(packages - sys.stdlib_module_names), content.hexdigest()
    )


def _inside(name: str, packages: Mapping[str, str]) -> str | None:
    """Which of some packages a module is or belongs to; None if it is none of them."""
    return next((other for other in packages if name == other or name.startswith(f"{other}.")), None)


def code_hash(*entries: str) -> str:
    """A hash of what the `closure` of some modules does, for a fingerprint. The fingerprint also holds the
    parameters.

    Comments, docstrings and layout do not affect the hash.
    """
    return _behaviour(closure(*entries, left_out={**SHAPES_NO_NUMBERS, **KNOWN_BY_VALUE}))


def stage_hash(name: str) -> str:
    """A hash of what a stage does, for DVC: of the modules in its `closure` and the templates beside them."""
    files = closure(f"memtrack.stages.{name}")
    folders = {path.parent for path in files} - {PACKAGE}
    beside = sorted(path for folder in folders for path in folder.iterdir() if path.suffix in TEMPLATES)
    return _behaviour([*files, *beside])


def _behaviour(files: Iterable[Path]) -> str:
    content = hashlib.sha256()
    for path in files:
        text = path.read_text(encoding="utf-8")
        what = _parsed(text)[1] if path.suffix == ".py" else text
        content.update(f"{path.relative_to(PACKAGE).as_posix()}\n{what}\n".encode())
    return content.hexdigest()


def _file(module: str) -> Path | None:
    """The file of a module of memtrack, or None if the name is not a module."""
    return module_file(PACKAGE.parent, module) if module.partition(".")[0] == "memtrack" else None


@cache
def _parsed(text: str, package: str | None = None) -> tuple[tuple[str, ...], str]:
    """Parse the text of a module. Returns the names that it imports, which are modules or names in modules,
    and what it does, without comments, docstrings and layout.

    `package` is what relative imports start from; None: there are none.
    """
    tree = ast.parse(text)
    imports = tuple(_imported(tree, package))
    _drop_docstrings(tree)
    return imports, _dumped(tree)


def _dumped(node: object) -> str:
    """A syntax tree as text, the same in every version of Python. `ast.dump` writes empty fields in some
    versions alone, and newer versions have more of them."""
    if isinstance(node, list):
        return f"[{','.join(map(_dumped, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    values = [(name, getattr(node, name, None)) for name in node._fields]
    fields = [f"{name}={_dumped(value)}" for name, value in values if value is not None and value != []]
    return f"{type(node).__name__}({','.join(fields)})"


def _drop_docstrings(node: ast.AST) -> None:
    """Remove the statements that are constants from all bodies in a node."""
    if isinstance(body := getattr(node, "body", None), list):
        node.body = [  # type: ignore[attr-defined]
            step for step in body if not (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        ]
    for step in _steps(node):
        _drop_docstrings(step)


def _steps(node: ast.AST) -> Iterator[ast.AST]:
    """The statements in a node, and what holds further ones. Expressions hold none and are most of a tree."""
    for field in ("body", "handlers", "cases", "orelse", "finalbody"):
        steps = getattr(node, field, None)
        if isinstance(steps, list):
            yield from steps


def _imported(node: ast.AST, package: str | None = None) -> Iterator[str]:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
            for step in otherwise:
                yield from _imported(step, package)
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(level=level, module=module, names=names) if level:
            if package is None:
                raise ValueError(
                    "memtrack imports its modules by their full names, so that they can be followed"
                )
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield module
            yield from (f"{module}.{alias.name}" for alias in names)
        case _:
            for inner in _steps(node):
                yield from _imported(inner, package)
