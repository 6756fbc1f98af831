"""The files below the root of a source, as DVC sees them.

DVC hashes the content that a link to a file leads to, also where root itself is a link. It does not look
behind a link to a folder, nor at what .dvcignore names. So memtrack takes nothing from there: a change would
rerun nothing. DVC fails on names that are not UTF-8, links that lead nowhere and folders that it cannot read.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pathspec

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path, project_root
from memtrack.config.sections.data import Source
from memtrack.data.decoding import PLUGINS, extensions, is_lfs_pointer, kind_of_image
from memtrack.data.sources.collected import LeftOut

SYSTEM = re.compile(
    r"\..*|__MACOSX|Icon\r|@eaDir|@Recycle|@Recently-Snapshot|#recycle|#snapshot|\$RECYCLE\.BIN|RECYCLER"
    r"|(eh)?thumbs(_vista)?\.db|desktop\.ini|System Volume Information|Network Trash Folder|Temporary Items"
    r"|TheVolumeSettingsFolder|lost\+found|__pycache__",
    re.IGNORECASE,
)
"""Names of what is hidden, and of what operating systems, storage systems and programs put among files."""
HIDDEN = "hidden, or made by an operating system or a program (.DS_Store, Thumbs.db, @eaDir, ...)"
IGNORED = "named in .dvcignore: DVC does not watch it"
NO_RIGHT = "permit it (chmod), or move it away"
NO_FILES = "named pipes, sockets and devices: remove them, `dvc repro` fails on them or waits for ever"
LINKED = "links to folders: DVC does not look behind them"
LOOKED_AT = 3
"""So many files of an unknown extension are opened to see whether they are images."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


@dataclass
class Scan:
    """What is below a root: paths relative to it, in order. No path leads through a link to a folder."""

    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    folders: set[PurePosixPath] = field(default_factory=set)
    linked: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=lambda: defaultdict(list))


def scan(root: Path, wanted: Collection[PurePosixPath] = (), *, tables: Collection[str] = ()) -> Scan:
    """Look through `root`.

    Args:
        wanted: folders below it that are looked through whatever their names.
        tables: the extensions of tables with samples.

    Raises:
        InputError: with every folder that cannot be read, every name that is not UTF-8 and every link that
            leads nowhere.
    """
    found, problems = Scan(), list[Problem]()
    ignored = _dvcignore(root)
    other: dict[str, list[str]] = defaultdict(list)
    exempt = {part.as_posix() for path in wanted for part in (path, *path.parents)}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(Problem(root / folder, message=f"cannot be read: {error.strerror}: {NO_RIGHT}"))
            continue
        for entry in here:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if (escaped := _escaped(path)) != path:
                text = "the name is not UTF-8, and DVC cannot read it: rename it (convmv renames many)"
                if (encoding := sys.getfilesystemencoding()) != "utf-8":
                    text = f"names are in {encoding} by the locale: set PYTHONUTF8=1, or LC_ALL to C.UTF-8"
                problems.append(Problem(root / escaped, message=text))
                continue
            try:
                is_folder, is_link = entry.is_dir(), entry.is_symlink()
                if SYSTEM.fullmatch(entry.name) and path not in exempt:
                    found.left_out[HIDDEN].append(path)
                elif ignored is not None and ignored(f"{path}/" if is_folder else path):
                    found.left_out[IGNORED].append(path)
                elif is_folder and is_link:
                    found.linked.append(path)
                elif is_folder:
                    found.folders.add(PurePosixPath(path))
                    waiting.append(path)
                elif entry.is_file():
                    extension = PurePosixPath(path).suffix.lower()
                    if extension in tables:
                        found.tables.append(path)
                    else:
                        (found.images if extension in extensions() else other[extension]).append(path)
                elif is_link and not (root / path).exists():
                    problems.append(
                        Problem(root / path, message="is a link that leads nowhere: remove it, or mend it")
                    )
                else:
                    found.left_out[NO_FILES].append(path)
            except OSError as error:
                text = f"cannot be read: {error.strerror}: {NO_RIGHT}"
                if error.errno == errno.ELOOP:
                    text = "is a link that leads in a circle: remove it, or mend it"
                problems.append(Problem(root / path, message=text))
    if problems:
        raise InputError(sorted(problems, key=str))
    for paths in (found.images, found.tables, found.linked, *found.left_out.values()):
        paths.sort()
    for extension, paths in sorted(other.items()):
        found.left_out[_why_no_image(root, extension, paths)] = sorted(paths)
    return found


def refuse_paths(root: Path, paths: Collection[str], found: Scan) -> None:
    """Raise an `InputError` if samples are where DVC does not look: behind links, or named in .dvcignore."""
    links, ignored = set(found.linked), set(found.left_out.get(IGNORED, ()))
    problems: dict[str, Problem] = {}
    for path in paths if links or ignored else ():
        for part in (path, *(parent.as_posix() for parent in PurePosixPath(path).parents)):
            if part in links:
                problems[part] = link_problem(root / part)
            elif part in ignored:
                problems[part] = Problem(
                    root / part, message=f"{IGNORED}: remove its line there, or leave it out"
                )
    if problems:
        raise InputError(list(problems.values()))


def link_problem(link: Path) -> Problem:
    """What is wrong with a link to a folder, and what to do."""
    text = (
        f"is a link to {_escaped(str(link.readlink()))}, and DVC does not look behind links to folders: what "
        "changes there would rerun nothing. Put the folder itself here (`cp -al` copies it without using "
        "space), or let data.root be the folder that has the files"
    )
    return Problem(link, message=text)


def check_root(params: Source) -> Path:
    """The folder of `data.root`; raises an `InputError` that says what it is if it is no folder."""
    try:
        root = input_path(params.root)
        if root.is_dir():
            return root
        text = _no_folder(root)
    except PermissionError as error:
        text = f"{params.root} cannot be read: {error.strerror}"
    raise params.mistake("root", message=text)


def _no_folder(root: Path) -> str:
    """What is there in place of the folder, and what to do."""
    for step in (root, *root.parents):
        if step.name and (tracked := step.with_name(f"{step.name}.dvc")).is_file():
            return f"{root} is not checked out: run `dvc checkout {tracked}`, or `dvc pull {tracked}`"
    if not root.exists():
        return f"{root} is a link that leads nowhere" if root.is_symlink() else f"no such folder: {root}"
    if not root.is_file():
        return f"{root} is no folder: expected the folder of the images"
    if is_lfs_pointer(root):
        return f"{root} is a pointer of git-lfs: run `git lfs pull`, and give the folder of the images"
    if root.suffix.lower() in ARCHIVES:
        return f"{root} is an archive: unpack it, and give the folder"
    if root.suffix == ".dvc":
        return f"{root} describes a folder for DVC: run `dvc pull {root}`, and give the folder itself"
    return f"{root} is a file: expected the folder of the images (and of the table, if there is one)"


def _escaped(path: str) -> str:
    """The path, with bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _why_no_image(root: Path, extension: str, paths: list[str]) -> str:
    """The reason why files of an extension are left out, with a hint if they are images."""
    named = f"extension {extension}" if extension else "no extension"
    for _, package, formats in PLUGINS.values():
        if extension in formats:
            return f"{named}: `pip install {package}` lets Pillow read it"
    kinds = {kind_of_image(root / path) for path in paths[:LOOKED_AT]} - {None}
    if kinds:
        return f"{named}: they are images ({', '.join(sorted(map(str, kinds)))}), rename them to be taken"
    return f"{named}: not an image"


def ignoring_project(root: Path) -> Path | None:
    """The project whose .dvcignore holds below `root`; None if root is outside of the project."""
    where = Path(os.path.abspath(root))  # noqa: PTH100 (a link in the project counts as in the project)
    projects = (project for project in (Path.cwd(), project_root()) if where.is_relative_to(project))
    return next(projects, None)


def _dvcignore(root: Path) -> Callable[[str], bool] | None:
    """Whether DVC ignores a path below root (a folder's path ends with a slash); None if it ignores nothing.

    DVC reads .dvcignore in the project and in its folders. A root elsewhere is hashed as a whole."""
    project = ignoring_project(root)
    if project is None:
        return None
    where = Path(os.path.abspath(root))  # noqa: PTH100
    specs = []
    for folder in (where, *where.parents):
        file = folder / ".dvcignore"
        if file.is_file():
            spec = pathspec.GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines())
            specs.append((where.relative_to(folder).as_posix(), spec))
        if folder == project:
            break
    return lambda path: any(spec.match_file(f"{prefix}/{path}") for prefix, spec in specs)
