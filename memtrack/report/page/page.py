"""Fills the template of the page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from memtrack.core.files import whole_file

ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What could end the JSON block or begin markup. All that is not ASCII is escaped anyway."""


POLICY = "default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src "


def write_page(content: dict[str, Any], path: Path) -> None:
    """Write the page with that content: one file, which loads nothing and runs its own script alone."""
    with whole_file(path) as file:
        file.write(page(content).encode())


def page(content: dict[str, Any]) -> str:
    """The page with that content."""
    folder = files(__package__)
    script, style = (folder.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "policy": f"{POLICY}'sha256-{digest}'",
        "title": html.escape(str(content["variant"])),
        "style": style,
        "data": embedded(content),
        "script": script,
    }
    template = folder.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def embedded(content: dict[str, Any]) -> str:
    """The content as JSON that no name in it can break out of."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: ESCAPED[found[0]], text)
