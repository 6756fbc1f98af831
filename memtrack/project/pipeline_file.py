"""The dvc.yaml of a project: memtrack's own one, alone or among the stages that are there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from memtrack.config.errors import InputError, Problem
from memtrack.core.files import whole_file

OURS = Path(__file__).with_name("pipeline.yaml")  # DVC would read any dvc.yaml in a clone
TEMPLATES = sorted(Path(__file__).with_name("plots").glob("*.json"))
"""The templates that the pipeline names for `dvc plots`. DVC finds templates in .dvc/plots alone."""
COMMAND = "memtrack.stages."


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; an `InputError` if it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(path, message=f"cannot be read: {error}")]) from None


def add_templates(root: Path) -> list[Path]:
    """Write the templates that the DVC repository `root` does not have; their paths."""
    folder = root / ".dvc/plots"
    missing = [template for template in TEMPLATES if not (folder / template.name).exists()]
    for template in missing:
        folder.mkdir(exist_ok=True)
        with whole_file(folder / template.name) as file:
            file.write(template.read_bytes())
    return [folder / template.name for template in missing]


def pipeline_text(there: str | None, path: Path) -> str:
    """The content of dvc.yaml with all stages of memtrack as this version has them.

    Args:
        there: the content of the file now, None if there is no file. Other stages in it stay as they are.

    Raises:
        InputError: if other stages have the names of memtrack's.
    """
    ours = OURS.read_text(encoding="utf-8")
    if there is None or there == ours:
        return ours
    try:
        return _merged(there, ours, path)
    except InputError:
        raise
    except Exception as error:  # the file of somebody else may hold anything
        text = f"is no pipeline that DVC reads, so nothing can be added to it: {error}"
        raise InputError([Problem(path, message=text.splitlines()[0])]) from None


def _merged(there: str, ours: str, path: Path) -> str:
    """All of `there`, with memtrack's stages as `ours` has them."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content, wanted = yaml.load(there) or {}, yaml.load(ours)
    if content.get("stages") is None:
        content["stages"] = {}
    stages = content["stages"]
    mine = {name for name, stage in stages.items() if COMMAND in _command(stage)}
    if mine == stages.keys() and content.keys() <= {"vars", "stages"}:
        return ours
    taken = sorted(wanted["stages"].keys() & stages.keys() - mine)
    if taken:
        text = (
            f"has stages of its own with the names {', '.join(taken)}: `memtrack init --folder memtrack` "
            "puts those of memtrack into a folder"
        )
        raise InputError([Problem(path, message=text)])
    for name in mine - wanted["stages"].keys():
        del stages[name]
    stages.update(wanted["stages"])
    known = [entry for entry in content.get("vars", []) if isinstance(entry, dict)]
    named = {key for entry in known for key in entry}
    content.setdefault("vars", [])
    content["vars"] += [entry for entry in wanted["vars"] if not named & entry.keys()]
    merged = io.StringIO()
    yaml.dump(content, merged)
    return merged.getvalue()


def _command(stage: Any) -> str:
    body = stage.get("do", stage) if isinstance(stage, dict) else {}
    return str(body.get("cmd", ""))
