"""Events, commands and interactions told over HTTP, signed, and sent again as Slack does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp

from adapters.chat.slack_signature import signature_of
from bot.testing.slack.socket import Envelope, SocketMode
from bot.testing.slack.watching import watched

Json = dict[str, Any]


def signed(
    secret: str, body: bytes, *, at: float | None = None, form: bool = False
) -> dict[str, str]:
    """The headers Slack sends with `body`."""
    stamp = str(int(time.time() if at is None else at)).encode()
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    return {
        "Content-Type": kind,
        "X-Slack-Request-Timestamp": stamp.decode(),
        "X-Slack-Signature": signature_of(secret.encode(), stamp, body).decode(),
    }


def body_of(kind: str, payload: Json) -> tuple[bytes, bool]:
    """The body of a request, and whether it is a form."""
    if kind == "slash_commands":
        return urlencode(payload).encode(), True
    if kind == "interactive":
        return urlencode({"payload": json.dumps(payload)}).encode(), True
    return json.dumps(payload).encode(), False


class HttpEvents(SocketMode):
    """Set `twin.socket` to one before the twin starts, and `url` before anything is told."""

    def __init__(self, secret: str = "twin-signing-secret") -> None:  # noqa: S107 (a twin's own)
        super().__init__()
        self.secret, self.url = secret, ""
        self.clock: Callable[[], float] = time.time
        self.answers: list[tuple[int, str, float]] = []  # status, body, seconds

    async def _deliver(self, envelope: Envelope) -> None:
        pauses = (0.0, *self.resend_after_s) if envelope.resend else (0.0,)
        reason = ""
        for attempt, pause_s in enumerate(pauses):
            await asyncio.sleep(pause_s)
            envelope.tries += 1
            again = {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
            status, answer = await self.post(envelope, again if attempt else {})
            if 200 <= status < 300:
                if answer.startswith("{"):
                    envelope.answer = json.loads(answer)
                envelope.acked.set()
                return
            reason = "http_error" if status else "http_timeout"

    async def post(self, envelope: Envelope, headers: dict[str, str]) -> tuple[int, str]:
        """One try; status 0 when no answer came in time."""
        watched(envelope.kind, envelope.payload)
        body, is_form = body_of(envelope.kind, envelope.payload)
        headers = signed(self.secret, body, at=self.clock(), form=is_form) | headers
        begun = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=self.ack_timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url, data=body, headers=headers) as answer,
            ):
                found = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            found = 0, ""
        self.answers.append((*found, time.monotonic() - begun))
        return found
