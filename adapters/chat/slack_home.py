"""The app's home tab: what the bot can do and how to ask it. Nothing of anybody is shown there."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from adapters.chat.commands import ASK, COMMANDS
from adapters.chat.shortcuts import SHORTCUTS
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_text import escaped
from adapters.chat.splitting import clip

log = structlog.get_logger(__name__)

SECTION_CHARS = 3_000
_PEOPLE = 20_000

_ABILITIES = (
    "• Mention me in a channel, or write to me here: I answer in the thread.",
    "• Follow-ups in a thread need no new mention.",
    "• Show me a screenshot: I look at the images of your message.",
    "• A deleted question takes its answer along; an edited one is answered as it reads then.",
)
_WHO = (
    "My operator decides who may ask me, and in which channels. If I refuse you somewhere, ask"
    " them. Mistakes happen: check what matters before you act on it."
)


def home_view(*, ask_command: str = ASK.name) -> dict[str, Any]:
    """The same for everybody; `private_metadata` is its version."""
    usages = [ASK.usage.replace(ASK.name, ask_command, 1), *(each.usage for each in COMMANDS)]
    about = [ASK.description, *(each.description for each in COMMANDS)]
    commands = [f"`/{escaped(a)}` {escaped(b)}" for a, b in zip(usages, about, strict=True)]
    shortcuts = [f"*{escaped(each.name)}* {escaped(each.description)}" for each in SHORTCUTS]
    blocks = [
        *_part("What I can do", _ABILITIES),
        *_part("Commands", commands),
        *_part("In the menu of a message", shortcuts),
        *_part("Who may ask me", (_WHO,)),
    ]
    version = hashlib.sha256(msgspec.json.encode(blocks)).hexdigest()[:16]
    return {"type": "home", "private_metadata": version, "blocks": blocks}


class Home:
    """Publishes the tab to who opens it, once for each version."""

    def __init__(self, api: SlackApi, view: Mapping[str, Any]) -> None:
        self._api, self._view = api, view
        self._published = OrderedDict[str, None]()

    async def opened(self, event: Mapping[str, Any]) -> None:
        """An `app_home_opened` event; Slack tells in it what the person sees already."""
        user, seen = str(event.get("user") or ""), event.get("view") or {}
        if event.get("tab") != "home" or not user or user in self._published:
            return
        if seen.get("private_metadata") != self._view["private_metadata"]:
            self._keep(user)  # before the call: a second event must not publish again
            try:
                await self._api.call("views.publish", user_id=user, view=self._view)
            except SlackCallError as error:
                self._published.pop(user, None)
                log.warning("slack.home_unpublished", error=str(error))
                return
        self._keep(user)

    def _keep(self, user: str) -> None:
        self._published[user] = None
        if len(self._published) > _PEOPLE:
            self._published.popitem(last=False)


def _part(title: str, lines: Sequence[str]) -> list[dict[str, Any]]:
    text = clip("\n".join(lines), SECTION_CHARS)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": title}},
        {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}},
    ]
