"""A hook of MkDocs: the pages of the site that are not files in docs/.

README.md is the first page. CONTRIBUTING.md, CHANGELOG.md and benchmarks/ are pages too, and the examples are
files. The links in all files are those of the repository; here they become those of the site. `parameters.md`
gets its tables from the schema of params.yaml.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/results/*.*",
           "examples/*.py")  # fmt: skip
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
HUGE = 2**53
"""A bound that is no smaller is not shown."""
TABLES = "<!-- the tables of the parameters -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    for pattern in OUTSIDE:
        for path in sorted(REPOSITORY.glob(pattern)):
            name = _in_site(path.relative_to(REPOSITORY).as_posix())
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into those of the site, and fill in the tables of the parameters."""
    here = Path(str(page.file.abs_src_path)).relative_to(REPOSITORY).as_posix()

    def link(match: re.Match[str]) -> str:
        there = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[1]))
        found = posixpath.relpath(_in_site(there), posixpath.dirname(_in_site(here)) or ".")
        return f"]({found}"

    return LINK.sub(link, markdown).replace(TABLES, "\n".join(_parameters()))


def _in_site(name: str) -> str:
    """The name in the site of a file of the repository."""
    return "index.md" if name == "README.md" else name.removeprefix("docs/")


def _parameters() -> list[str]:
    """For each section of params.yaml, and each kind that a key of it may have, a table of the keys."""
    schema = json.loads((REPOSITORY / "memtrack/params.schema.json").read_text(encoding="utf-8"))
    lines: list[str] = []
    shown: dict[str, str] = {}
    for key, section in schema["properties"].items():
        lines += ["", f"## {key}", ""]
        for name in _models(section):
            lines += _table(schema["$defs"], name, key, shown)
    return lines


def _table(models: dict[str, Any], name: str, key: str, shown: dict[str, str]) -> list[str]:
    """The keys of a model, then those of the models in it; `shown` says under which key a model was shown."""
    if shown.setdefault(name, key) != key:
        return []
    model = models[name]
    kind = model["properties"].get("kind", {}).get("const")
    heading = f"### {key}: kind {kind}" if kind else f"### {key}" if "." in key else ""
    lines = [heading, "", model["description"].partition("\n\nAttributes:")[0], ""]
    own = {own: field for own, field in model["properties"].items() if own != "kind"}
    if own:
        lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
    for own_key, field in own.items():
        default = "required" if own_key in model.get("required", ()) else _default(field)
        cells = [f"`{own_key}`", _values(field, shown), default, field.get("description", "")]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    lines.append("")
    for own_key, field in own.items():
        for inner in _models(field):
            lines += _table(models, inner, f"{key}.{own_key}", shown)
    return lines


def _models(field: dict[str, Any]) -> list[str]:
    """The names of the models that a value may be."""
    if "$ref" in field:
        return [field["$ref"].rpartition("/")[2]]
    inner = [field.get("items"), field.get("additionalProperties")]
    inner += [*field.get("anyOf", ()), *field.get("oneOf", ())]
    return [name for part in inner if isinstance(part, dict) for name in _models(part)]


def _default(field: dict[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _values(field: dict[str, Any], shown: dict[str, str]) -> str:
    """What values a key may have, in words."""
    if parts := field.get("anyOf", ()):
        return " or ".join(_values(part, shown) for part in parts)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field or "oneOf" in field:
        there = shown.get(_models(field)[0])
        return "see below" if there is None else f"as `{there}`"
    ends = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[end]}" for end, sign in ends.items() if field.get(end, HUGE) < HUGE]
    words = {"array": "list", "object": "keys and values", "string": "text"}
    kind = words.get(field.get("type", ""), field.get("type", ""))
    inner = _values(field["items"], shown) if isinstance(field.get("items"), dict) else ""
    return " ".join(filter(None, [kind, f"of {inner}" if inner else "", ", ".join(bounds)]))
