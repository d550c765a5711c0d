"""Slack's requests over HTTP: checked on their bytes first, read second, stored before the ack.

One endpoint takes events, slash commands and interactions. What is not signed gets 401 or 413
with an empty body and leaves no trace but a count; what can't be stored in time gets 503, and
Slack sends it again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl

import structlog

from adapters.chat.slack_signature import WINDOW_S, Claimed, is_signed, read_claim
from adapters.chat.types import NotAccepted

log = structlog.get_logger(__name__)

EVENTS_PATH = "/slack/events"
MAX_BODY_BYTES = 1024 * 1024
MAX_HEADERS = 100
BODY_WITHIN_S = 5.0
ACK_WITHIN_S = 2.4  # Slack waits 3 s
KEPT_S = 600.0  # longer than a signature is valid
_IN_FLIGHT_BYTES = 16 * 1024 * 1024  # of all bodies that are being read
_ALARM_EVERY_S = 3600.0
_MAX_FIELDS = 100
_IN_LEDGER = frozenset({"app_mention", "message"})
_CHANGES = frozenset({"message_changed", "message_deleted"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, Mapping[str, Any]]
Take = Callable[[dict[str, Any]], Awaitable[Answer]]
Standing = Literal["new", "busy", "done"]


class Signatures(Protocol):
    """The requests that had their effect, of every process that serves this app.

    Methods raise `NotAccepted` while the store is away.
    """

    async def begin(self, name: str, *, within_s: float) -> Standing:
        """ "new" makes it ours for `within_s`; "done" had its effect; "busy" is another's."""
        ...

    async def end(self, name: str, *, keep_s: float | None) -> None:
        """It had its effect, which is kept for `keep_s`; None gives it back."""
        ...


class ProcessSignatures:
    """Those of this process alone; for when there is no store to share them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, Standing]] = {}

    async def begin(self, name: str, *, within_s: float) -> Standing:
        now = self._clock()
        self._known = {key: each for key, each in self._known.items() if each[0] > now}
        if name in self._known:
            return self._known[name][1]
        self._known[name] = (now + within_s, "busy")
        return "new"

    async def end(self, name: str, *, keep_s: float | None) -> None:
        if keep_s is None:
            self._known.pop(name, None)
        else:
            self._known[name] = (self._clock() + keep_s, "done")


class EventsEndpoint:
    """An ASGI application for `EVENTS_PATH`; `take` is what a socket's envelopes go to."""

    def __init__(
        self,
        take: Take,
        *,
        signing_secret: str,
        signatures: Signatures,
        app_id: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._take, self._secret, self._app_id = take, signing_secret.encode(), app_id
        self._signatures, self._clock = signatures, clock
        self._reading_bytes = 0
        self._alarmed_at: float | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.skew_s = 0.0  # of our clock, where it is too large to serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, answer = await self._respond(scope, receive)
        body = json.dumps(answer).encode() if answer else b""
        headers = [(b"content-length", str(len(body)).encode())]
        if body:
            headers.append((b"content-type", b"application/json"))
        if status != 200:
            headers.append((b"connection", b"close"))  # what is still to come is not read
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> Answer:
        headers = scope["headers"]
        if scope["method"] != "POST":
            return 405, {}
        if len(headers) > MAX_HEADERS or _told_bytes(headers) > MAX_BODY_BYTES:
            return 413, {}
        if (claimed := read_claim(headers)) is None:
            return 401, {}
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                status = await self._read(receive, body)
            if status != 200:
                return status, {}
            return await self._signed(claimed, headers, body)
        except TimeoutError:
            return 408, {}
        finally:
            self._reading_bytes -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> int:
        """Fill `body` under the limits; 200 when it is whole."""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return 400  # who sent it is gone
            piece = message.get("body", b"")
            if len(body) + len(piece) > MAX_BODY_BYTES:
                return 413
            if self._reading_bytes + len(piece) > _IN_FLIGHT_BYTES:
                return 503
            self._reading_bytes += len(piece)
            body += piece
            if not message.get("more_body", False):
                return 200

    async def _signed(
        self, claimed: Claimed, headers: list[tuple[bytes, bytes]], body: bytearray
    ) -> Answer:
        if not is_signed(self._secret, claimed, body):
            return 401, {}
        skew_s = claimed.skew_s(self._clock())
        if abs(skew_s) > WINDOW_S:
            self._alarm(skew_s)
            return 401, {}
        self.skew_s = 0.0
        payload = read_body(bytes(body), is_form=_is_form(headers))
        if payload is None or not self._is_for_us(payload):
            return 401, {}
        if payload.get("type") == "url_verification":
            return 200, {"challenge": str(payload.get("challenge") or "")}
        if "ssl_check" in payload:
            return 200, {}
        return await self._in_time(claimed, payload)

    def _is_for_us(self, payload: Mapping[str, Any]) -> bool:
        told = payload.get("api_app_id")
        return self._app_id is None or told is None or told == self._app_id

    async def _in_time(self, claimed: Claimed, payload: dict[str, Any]) -> Answer:
        """Its effect, once, and soon enough for Slack; else it is not acknowledged."""
        try:
            async with asyncio.timeout(ACK_WITHIN_S):
                if _is_in_ledger(payload):  # which takes it once, however often it comes
                    return await self._take(payload)
                return await self._once(claimed, payload)
        except TimeoutError:
            log.warning("slack.not_accepted", reason="not stored in time")
        except NotAccepted as error:
            log.warning("slack.not_accepted", reason=type(error).__name__)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Signed and yet not as documented: to send it again would not help.
            log.error("slack.unreadable", error=type(error).__name__)
            return 200, {}
        return 503, {}

    async def _once(self, claimed: Claimed, payload: dict[str, Any]) -> Answer:
        standing = await self._signatures.begin(claimed.name, within_s=2 * ACK_WITHIN_S)
        if standing != "new":
            return (200 if standing == "done" else 503), {}
        status = 503
        try:
            status, answer = await self._take(payload)
        finally:
            self._end(claimed, keep_s=KEPT_S if status == 200 else None)
        return status, answer

    def _end(self, claimed: Claimed, *, keep_s: float | None) -> None:
        """Beside the ack: until it is stored, the same request finds this one busy."""

        async def end() -> None:
            try:
                await self._signatures.end(claimed.name, keep_s=keep_s)
            except NotAccepted:
                log.warning("slack.signature_unkept")

        task = asyncio.create_task(end(), name="slack signature")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _alarm(self, skew_s: float) -> None:
        """Once an hour: a request that Slack signed is refused for its time."""
        self.skew_s, now = skew_s, self._clock()
        if self._alarmed_at is not None and abs(now - self._alarmed_at) < _ALARM_EVERY_S:
            return
        self._alarmed_at = now
        log.error(
            "slack.clock_skew",
            skew_s=round(skew_s),
            remedy="set this machine's clock (NTP): Slack's requests are refused when it is more"
            f" than {WINDOW_S} s off; if it is right, an old request was replayed",
        )


def read_body(body: bytes, *, is_form: bool) -> dict[str, Any] | None:
    """The payload of a signed request; None when it is none of Slack's forms."""
    try:
        text = body.decode()
        if not is_form:
            return _object(text)
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        return _object(fields["payload"]) if "payload" in fields else (fields or None)
    except (ValueError, RecursionError):
        return None


def _object(text: str) -> dict[str, Any] | None:
    found = json.loads(text)
    return found if isinstance(found, dict) else None


def _is_form(headers: list[tuple[bytes, bytes]]) -> bool:
    kinds = [value for name, value in headers if name == b"content-type"]
    return any(kind.lower().startswith(b"application/x-www-form-urlencoded") for kind in kinds)


def _told_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    told = [value for name, value in headers if name == b"content-length"]
    return max((int(each) for each in told if each.isdigit() and len(each) < 20), default=0)


def _is_in_ledger(payload: Mapping[str, Any]) -> bool:
    """A message; all else (a button, a command, an edit) has no id that the ledger knows."""
    event = payload.get("event")
    return (
        isinstance(event, dict)
        and event.get("type") in _IN_LEDGER
        and event.get("subtype") not in _CHANGES
    )
