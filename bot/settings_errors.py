"""Why the settings are refused, said by field name and limit, never by value."""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SECRET_SHAPES = re.compile(r"xox[a-z]-|xapp-|\bsk-|[A-Za-z0-9_-]{24,}")


class SettingsError(Exception):
    """The bot can't start with these settings; names the field and the limit, never the value.

    `problems` holds one sentence for each wrong field.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def shown_name(part: object) -> str:
    """A name from the settings; a key that looks like a secret is not repeated."""
    text = str(part)
    usual = re.fullmatch(r"[A-Za-z0-9_.-]{1,41}", text) and not _SECRET_SHAPES.search(text)
    return text if usual else "(a name that is not shown)"


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """One sentence for each wrong field: its dotted name, and what is allowed there."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        if item["type"] == "default_factory_not_called":  # follows from another problem
            continue
        context = item.get("ctx", {})
        loc = [part for part in item["loc"] if part != "[key]"]
        name = ".".join(
            [*map(shown_name, loc), *([context["field"]] if "field" in context else [])]
        )
        found.append(f"{name or 'settings'}: {_reason(item, loc, root)}")
    return found


def _reason(item: ErrorDetails, loc: list[Any], root: type[BaseModel]) -> str:
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        allowed = _fields_at(loc[:-1], root)
        close = difflib.get_close_matches(str(loc[-1]), allowed, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        return f"unknown{hint}; allowed here: {', '.join(allowed)}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "must be a table of fields"
    if kind == "missing":
        return "is needed"
    return re.sub(r"^(Input|String|Tuple|Value) should ", "must ", message)


def _fields_at(loc: list[Any], root: type[BaseModel]) -> list[str]:
    """The fields of the section at `loc`; one level of it may be a table of sections."""
    model = root
    for part in loc:
        field = model.model_fields.get(str(part))
        for kind in (field.annotation, *get_args(field.annotation)) if field else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return sorted(model.model_fields)
