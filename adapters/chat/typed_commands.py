"""Commands typed as text, on surfaces without slash commands of their own."""

from __future__ import annotations

import re

_COMMAND = re.compile(r"/([a-z][a-z0-9_-]*)(?:[ \t]+([^\n]*))?\s*", re.IGNORECASE)


def parse_command(text: str) -> tuple[str, str] | None:
    """`/model phi` as (name, argument); None for anything else, such as a path."""
    match = _COMMAND.fullmatch(text.strip())
    if match is None:
        return None
    return match[1].lower(), (match[2] or "").strip()
