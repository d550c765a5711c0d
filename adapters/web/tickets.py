"""Tickets: where the team keeps its work, behind one method; and a webhook for any of them."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, NamedTuple, Protocol

import aiohttp
import msgspec
from pydantic import Field

from tools.contract import Labelled, Tool, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Integrity, Label

_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 1024
_TRIES, _PAUSE_S = 2, 0.5
_SHOWN = re.compile(r"[\w./:#?=&%+-]{1,200}")


class Ticket(NamedTuple):
    """What is asked for; `key` is the same however often one call is made."""

    key: str
    title: str
    text: str
    user_id: str
    conversation: str


class Filed(msgspec.Struct):
    """How the tracker names it; either may be missing."""

    id: str | int = ""
    url: str = ""


class Tracker(Protocol):
    """An issue tracker. Filing a key twice makes one ticket."""

    async def file(self, ticket: Ticket) -> Filed:
        """Raises `ToolError`, whose message is fit for the model."""
        ...


class Webhook:
    """Posts JSON to the operator's address; `Idempotency-Key` says which call it is.

    Any 2xx is success, with `{"id", "url"}` in its body if the service tells them. What got no
    answer, or 429 or 5xx, is sent once more under the same key.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def file(self, ticket: Ticket) -> Filed:
        for n in range(_TRIES):
            if n:
                await asyncio.sleep(_PAUSE_S)
            try:
                status, body = await self._post(ticket)
            except (aiohttp.ClientError, TimeoutError, OSError):
                status, body = 0, b""
            if 200 <= status < 300:
                return _filed(body)
            if 0 < status < 500 and status != 429:
                raise ToolError(f"the ticket service refused it ({status})")
        raise ToolError("the ticket service does not answer; nothing is known to be filed")

    async def _post(self, ticket: Ticket) -> tuple[int, bytes]:
        headers = {**self._headers, "Idempotency-Key": ticket.key}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(
                self._url, json=ticket._asdict(), headers=headers, allow_redirects=False
            ) as answer,
        ):
            return answer.status, await answer.content.read(_MOST_BYTES)


def _filed(body: bytes) -> Filed:
    try:
        return msgspec.json.decode(body, type=Filed)
    except msgspec.DecodeError:
        return Filed()


def ticket_tool(tracker: Tracker) -> Tool:
    @tool(
        effect="write",
        idempotency="key",
        example=(
            "Open a ticket: the printer on floor 2 is broken",
            {"title": "Printer on floor 2 is broken", "description": "Reported in the chat."},
        ),
    )
    async def create_ticket(
        title: Annotated[str, Field(min_length=3, max_length=120)],
        description: Annotated[str, Field(max_length=1500)],
        context: ToolContext,
    ) -> Labelled:
        """File a ticket with the team, in the name of the person who asks."""
        person, where = context.principal.user_id, str(context.conversation)
        filed = await tracker.file(Ticket(context.call_key, title, description, person, where))
        told = (f"id {filed.id}" if filed.id else "", filed.url)
        shown = " ".join(each for each in told if each and _SHOWN.fullmatch(each.replace(" ", "")))
        return Labelled(f"filed {shown}".strip(), Label(Integrity.OPERATOR))

    return create_ticket
