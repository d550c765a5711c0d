"""What Slack fetches for previews of what an app sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bot.testing.previews import links_in

Json = dict[str, Any]
SURFACES = {
    "chat.postMessage": "post",
    "chat.update": "edit",
    "chat.postEphemeral": "ephemeral",
    "chat.startStream": "stream",
    "chat.appendStream": "stream",
    "chat.stopStream": "stream",
    "files.completeUploadExternal": "file",
    "views.open": "modal",
    "views.update": "modal",
    "views.publish": "home",
    "response_url": "response",
}
UNFURL = ("unfurl_links", "unfurl_media")  # no switch: of streams and of the words with a file
_VIEWS = frozenset({"modal", "home"})
_WORDS = frozenset({"text", "markdown_text", "initial_comment", "title", "details", "output"})
_PICTURES = frozenset({"image_url", "thumb_url", "author_icon", "footer_icon"})


def fetched(method: str, args: Json) -> list[str]:
    """Pictures always, links unless both switches are off; links in views are never unfolded."""
    surface = SURFACES[method]
    urls = [value for key, value in _texts(args) if key in _PICTURES]
    if surface in _VIEWS or all(_is_off(args.get(each)) for each in UNFURL):
        return urls
    words = (value for key, value in _texts(args) if key in _WORDS)
    return urls + [url for text in words for url in links_in(text)]


def _texts(holder: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text with the name of what holds it; a form's views and blocks are JSON text."""
    if isinstance(holder, dict):
        for name, value in holder.items():
            yield from _texts(value, name)
    elif isinstance(holder, list):
        for each in holder:
            yield from _texts(each, key)
    elif isinstance(holder, str):
        if key in ("view", "blocks", "attachments"):
            yield from _texts(json.loads(holder), key)
        else:
            yield key, holder


def _is_off(switch: object) -> bool:
    return str(switch).lower() in ("false", "0")
