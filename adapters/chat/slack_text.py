"""Text to and from Slack: entities, mentions, one-line statuses. Pure functions."""

from __future__ import annotations

import re

from adapters.chat.splitting import clip
from adapters.chat.types import Draft

FALLBACK_CHARS = 3_900  # `text` serves notifications; Slack advises under 4,000
_LINK = re.compile(r"<((?:https?|mailto|tel):[^|>\s]+)(?:\|([^>]*))?>")
_PING = re.compile(r"<(?=!(?:channel|here|everyone|subteam|group)|@[UWB!]|[#]C)", re.IGNORECASE)


def plain(text: str, *, bot_user_id: str) -> str:
    """What a person typed: the bot's own mention taken out, links and entities undone."""
    text = re.sub(rf"<@{re.escape(bot_user_id)}(?:\|[^>]*)?>[ \t]*", "", text)
    text = _LINK.sub(_link, text)
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, char)
    return text.strip()


def mentions(text: str, bot_user_id: str) -> bool:
    return f"<@{bot_user_id}>" in text or f"<@{bot_user_id}|" in text


def _link(match: re.Match[str]) -> str:
    url, label = match[1], match[2]
    bare = url.removeprefix("mailto:").removeprefix("tel:")
    if not label or label in (url, bare) or url.endswith("//" + label):
        return bare
    return f"{label} ({url})"


def unpinged(text: str) -> str:
    """Markdown in which no `<!channel>` or `<@U…>` can ping; the length stays the same."""
    return _PING.sub("‹", text)


def fallback(text: str) -> str:
    """The plain `text` beside the blocks: escaped, so that it holds no mention."""
    return escaped(clip(text, FALLBACK_CHARS))


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def preview(draft: Draft, limit: int) -> str:
    """A draft as shown while it grows: its text, or one line on what is being done."""
    if draft.text.strip():
        return clip(draft.text, limit)
    running = [each.name for each in draft.activities if each.state == "running"]
    if running:
        return f"_{doing(running[-1])}…_"
    return f"_{clip(draft.status, 200)}_" if draft.status else ""


def doing(name: str) -> str:
    """A step of the work in words: its name only, never its arguments."""
    if name == "look":
        return "Looking at the image"
    return name[:1].upper() + name[1:100] if " " in name else f"Using {name[:100]}"
