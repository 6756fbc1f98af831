"""Check the content of a file against a pydantic model, and report every mistake with its line and key."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memtrack.config.errors import InputError, Problem
from memtrack.config.secrets import without_secrets
from memtrack.config.yaml_file import Loc, SourceFile

M = TypeVar("M", bound=BaseModel)
_PLAIN = {"dictionary": "keys and values", "tuple": "a list", "list": "a list"}
CrossCheck = Callable[[M], Iterable[tuple[Loc, str]]]


def validate(model: type[M], source: SourceFile, cross_check: CrossCheck[M] | None = None) -> M:
    """The content of `source` as a `model`; raises an `InputError` with one problem for each mistake."""
    try:
        result = model.model_validate(source.content)
    except ValidationError as error:
        details = error.errors()
        inner = [detail["loc"] for detail in details]
        problems = [
            _problem(model, source, detail)
            for detail in details
            # pydantic calls a list too short when one of its entries is wrong: that entry is reported itself
            if detail["type"] != "too_short"
            or not any(
                len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in inner
            )
        ]
        raise InputError(_by_line(problems)) from None
    broken = list(cross_check(result)) if cross_check else []
    if broken:
        problems = [
            Problem(source.path, source.line(loc), loc, f"{_shown(_at(source.content, loc))}: {text}")
            for loc, text in broken
        ]
        raise InputError(_by_line(problems))
    return result


def _problem(model: type[BaseModel], source: SourceFile, detail: ErrorDetails) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    loc, owner = _locate(model, source.content, detail["loc"])
    if kind == "extra_forbidden":
        message = _renamed(str(loc[-1]), owner) or "unknown key" + _suggestion(str(loc[-1]), _keys(owner))
    elif kind == "missing":
        message = "is missing: this key is required"
    elif kind == "union_tag_not_found":
        loc = (*loc, "kind")
        message = f"is missing: choose one of {', '.join(_kinds(owner))}"
    elif kind == "union_tag_invalid":
        loc, tags = (*loc, "kind"), _kinds(owner)
        value = _at(source.content, loc)
        hint = _suggestion(str(value), tags) if value is not None else f" (allowed: {', '.join(tags)})"
        message = f"{_shown(value)}: unknown kind{hint}"
    elif kind == "literal_error":
        text = _shown(detail["input"])
        message = f"{text}: should be {context['expected']}" + nearest(
            str(detail["input"]),
            [part.strip(" '") for part in context["expected"].replace(" or ", ",").split(",")],
        )
    else:
        text = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
        text = re.sub(
            "^(Dictionary|Tuple) should have at least 1 item.*", "should have at least one entry", text
        )
        text = re.sub(
            "^String should (have at least 1 character|match pattern.*)", "should not be empty", text
        )
        text = re.sub("a valid (dictionary|tuple|list)( or .*)?$", lambda m: _PLAIN[m[1]], text)
        if "keys and values" in text and re.match(r"[\w-]+:\S", str(detail["input"])):
            text += "; is a blank missing after a colon?"
        message = text if isinstance(detail["input"], dict) else f"{_shown(detail['input'])}: {text}"
    return Problem(source.path, source.line(loc), loc, message)


def _locate(model: Any, content: Any, raw: Iterable[int | str]) -> tuple[Loc, Any]:
    """pydantic's location without the tags of unions, and the type that has the last key."""
    loc: list[int | str] = []
    owner: Any = model
    parts = [part for part in raw if part != "[key]"]
    for index, part in enumerate(parts):
        members = _members(owner)
        tagged = [member for member in members if _tag(member) == part]
        if len(members) > 1 and tagged:
            owner = tagged[0]
            continue
        loc.append(part)
        content = _child(content, part)
        if index < len(parts) - 1 or content is not None:
            owner = _inner(owner, part) or owner
    return tuple(loc), owner


def _child(content: Any, part: int | str) -> Any:
    """The value of a key or at an index; None if there is none."""
    if isinstance(content, dict):
        return content.get(part)
    inside = isinstance(content, list) and isinstance(part, int) and part < len(content)
    return content[part] if inside else None


def _strip(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _members(annotation: Any) -> list[Any]:
    """The models in an annotation, also those of a union inside another one, such as `Union | None`."""
    annotation = _strip(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for member in get_args(annotation) for model in _members(member)]


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return get_args(field.annotation)[0] if field is not None else None


def _inner(owner: Any, part: int | str) -> Any:
    owner = _strip(owner)
    if get_origin(owner) is dict:
        return get_args(owner)[1]
    models = _members(owner)
    field = models[0].model_fields.get(str(part)) if len(models) == 1 else None
    return field.annotation if field is not None else None


def _renamed(key: str, owner: Any) -> str | None:
    """What to write instead of a key of an earlier version, or None."""
    models = _members(owner)
    new = getattr(models[0], "RENAMED", {}).get(key) if len(models) == 1 else None
    return None if new is None else f"was removed: {new}"


def _keys(owner: Any) -> list[str]:
    models = _members(owner)
    return sorted(models[0].model_fields) if len(models) == 1 else []


def _kinds(owner: Any) -> list[str]:
    return [str(_tag(member)) for member in _members(owner)]


def _by_line(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint that names the choice closest to `word`; empty if none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def _suggestion(word: str, choices: list[str]) -> str:
    return f"{nearest(word, choices)} (allowed: {', '.join(choices)})" if choices else ""


def _at(content: Any, loc: Loc) -> Any:
    return functools.reduce(_child, loc, content)


def _shown(value: Any) -> str:
    text = without_secrets(json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= 60 else text[:57] + "..."
