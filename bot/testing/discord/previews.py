"""What Discord fetches for embeds of what an app sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bot.testing.previews import links_in

Json = dict[str, Any]
SUPPRESS_EMBEDS, EPHEMERAL = 1 << 2, 1 << 6
_IN_BRACKETS = re.compile(r"<https?://[^\s>]+>", re.IGNORECASE)
_PICTURES = frozenset({"image", "thumbnail", "video", "media"})


def surface_of(flags: int, *, edited: bool) -> str:
    if flags & EPHEMERAL:
        return "ephemeral"
    return "edit" if edited else "post"


def fetched(body: Json, flags: int) -> list[str]:
    """Pictures of embeds and components always; links unless suppressed or in `<…>`."""
    urls = [*_pictures(body.get("embeds")), *_pictures(body.get("components"))]
    if flags & SUPPRESS_EMBEDS:
        return urls
    return urls + links_in(_IN_BRACKETS.sub(" ", str(body.get("content") or "")))


def _pictures(holder: object) -> Iterator[str]:
    if isinstance(holder, list):
        for each in holder:
            yield from _pictures(each)
    elif isinstance(holder, dict):
        for name, value in holder.items():
            if name in _PICTURES and isinstance(value, dict):
                yield from _foreign(value.get("url"))
            elif name == "icon_url":
                yield from _foreign(value)
            else:
                yield from _pictures(value)


def _foreign(url: object) -> Iterator[str]:
    if isinstance(url, str) and not url.startswith("attachment://"):
        yield url
