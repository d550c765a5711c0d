"""What a Mattermost server, or a reader's client, fetches of a post."""

from __future__ import annotations

import re
from typing import Any

from bot.testing.previews import links_in

Json = dict[str, Any]
# Its apps read no fence that is not closed, by as many signs alone on a line
_CODE = re.compile(
    r"^ {0,3}(?P<run>`{3,}|~{3,})[^\n]*\n(?:.*?\n)?? {0,3}(?P=run) *$"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)*?(?<!`)(?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
# Alternative texts may hold brackets, escapes and line breaks
_ALT = r"(?<!\\)!\[(?P<alt>(?:(?!\n\s*\n)(?:\\.|[^\[\]\\]|\[[^\]]*\]))*)\]"
_IMAGE = re.compile(_ALT + r"\(\s*<?(?P<url>[^\s)>]+)", re.DOTALL)
_BY_NAME = re.compile(_ALT + r"(?:\[(?P<name>[^\]]*)\])?(?!\()", re.DOTALL)
_NAMED = re.compile(r"^ {0,3}\[(?P<name>[^\]]+)\]:\s*<?(?P<url>[^\s>]+)", re.MULTILINE)


def fetched(message: str, props: Json) -> list[str]:
    """Pictures always; links unless the post says that they are not safe."""
    shown = _CODE.sub(lambda code: "\n\n" if code["run"] else " ", message)
    pictures = [found["url"] for found in _IMAGE.finditer(shown)]
    named = {found["name"].lower(): found["url"] for found in _NAMED.finditer(shown)}
    for found in _BY_NAME.finditer(shown):
        name = (found["name"] or found["alt"]).lower()
        pictures += [named[name]] if name in named else []
    for each in props.get("attachments") or ():
        pictures += [each[key] for key in ("image_url", "thumb_url") if each.get(key)]
    if str(props.get("unsafe_links")) == "true":
        return pictures
    return pictures + [url for url in links_in(message) if url not in pictures]
