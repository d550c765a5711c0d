"""Slack by Socket Mode, over slack-bolt. Events are stored before they are acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from yarl import URL

from adapters.chat.slack_api import TOKEN_ERRORS, SlackApi, SlackCallError
from adapters.chat.slack_directory import Directory
from adapters.chat.slack_doctor import diagnose
from adapters.chat.slack_events import EventReader
from adapters.chat.slack_files import SlackFiles
from adapters.chat.slack_reply import PART_CHARS, Pools, SlackReply
from adapters.chat.slack_text import escaped
from adapters.chat.types import (
    AdapterError,
    Attachment,
    Command,
    DeliveryError,
    Inbox,
    Limits,
    Message,
    NotAccepted,
    Receipt,
)

__all__ = ["SlackAdapter", "diagnose"]

log = structlog.get_logger(__name__)

ACK_WITHIN_S = 2.0  # Slack waits 3 s
_CONNECT_WITHIN_S = 30.0
_DEAD_AFTER_S = 45.0  # the SDK's own reconnecting gets this long
_LOOK_EVERY_S = 5.0
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_NOT_TAKEN = "I can't take questions from you here."
_FULL = "Too many questions wait here already. Please ask this one again later."
_EXCUSES = {Receipt.DENIED: _NOT_TAKEN, Receipt.FULL: _FULL}
_TRY_AGAIN = "I can't take this right now. Please try again in a minute."


class SlackAdapter:
    """Implements `ChatAdapter`. One instance serves one workspace's bot token."""

    def __init__(
        self,
        *,
        bot_token: str,
        app_token: str,
        api_url: str = "https://slack.com/api/",
        name: str = "slack",
        ask_command: str = "ask",
        updates_per_minute: int = 45,
        edit_every_s: float = 1.2,
        settle_s: float = 5.0,
    ) -> None:
        self._name, self._app_token, self._ask = name, app_token, ask_command
        self._settle_s = settle_s
        self._api = SlackApi(name=name, bot_token=bot_token, api_url=api_url)
        self._files = SlackFiles(self._api, bot_token=bot_token, api_url=api_url)
        self._pools = Pools(updates=updates_per_minute, window_s=60.0, edit_every_s=edit_every_s)
        self._limits = Limits(PART_CHARS, edits_per_window=updates_per_minute, window_s=60.0)
        self._late: set[asyncio.Task[None]] = set()
        self._handler: AsyncSocketModeHandler | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        if self._handler is None:
            return False
        session = self._handler.client.current_session
        return session is not None and not session.closed

    async def run(self, inbox: Inbox) -> None:
        """Feed `inbox` until cancelled; raises `AdapterError` when a token is refused."""
        self._api.open()
        try:
            who = await self._insist("auth.test", what="bot token", needs=("team_id", "user_id"))
            team_id, bot_user_id = str(who["team_id"]), str(who["user_id"])
            directory = Directory(self._api, team_id=team_id, bot_user_id=bot_user_id)
            reader = EventReader(
                directory, adapter=self._name, team_id=team_id, bot_user_id=bot_user_id
            )
            intake = _Intake(inbox, reader, self._ask, self._answer_later)
            app = self._bolt(intake, who)
            while True:
                async with self._connected(app) as handler:
                    await _until_dead(handler)
                log.warning("slack.reconnecting", adapter=self._name)
        finally:
            for task in self._late:
                task.cancel()
            await self._api.aclose()

    def reply(self, message: Message) -> SlackReply:
        return SlackReply(self._api, self._pools, message, settle_s=self._settle_s)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return await self._files.fetch(attachment, max_bytes=max_bytes)

    def _bolt(self, intake: _Intake, who: Mapping[str, Any]) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            return AuthorizeResult(
                enterprise_id=who.get("enterprise_id"),
                team_id=who.get("team_id"),
                bot_user_id=who.get("user_id"),
                bot_id=who.get("bot_id"),
                bot_token=self._api.client.token,
            )

        app = AsyncApp(
            client=self._api.client_for(None),
            authorize=authorize,  # bolt's own acknowledges an event when auth.test fails
            logger=self._api.logger,
            name=self._name,
            request_verification_enabled=False,  # for HTTP; a socket has no signature
            process_before_response=True,
        )
        app.middleware(intake.take)
        return app

    @contextlib.asynccontextmanager
    async def _connected(self, app: AsyncApp) -> AsyncIterator[AsyncSocketModeHandler]:
        ticket = await self._insist(
            "apps.connections.open", what="app token", needs=("url",), token=self._app_token
        )
        handler = AsyncSocketModeHandler(app, self._app_token, logger=self._api.logger)
        handler.client.wss_uri = str(ticket["url"])
        self._handler = handler
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT_WITHIN_S):
                    await handler.connect_async()  # type: ignore[no-untyped-call]
                    log.info("slack.connected", adapter=self._name)
            yield handler
        finally:
            self._handler = None
            await handler.close_async()  # type: ignore[no-untyped-call]

    async def _insist(
        self, method: str, *, what: str, needs: tuple[str, ...], token: str = ""
    ) -> Mapping[str, Any]:
        """Call until Slack answers; a refused token, or an answer without `needs`, ends it."""
        for wait_s in _waits():
            try:
                answer = await self._api.call(method, token=token)
                if missing := [name for name in needs if not answer.get(name)]:
                    raise AdapterError(_not_slack(self._name, method, missing))
                return answer
            except SlackCallError as error:
                if error.error in TOKEN_ERRORS or error.error == "missing_scope":
                    raise AdapterError(_refusal(self._name, what, error.error)) from error
                log.warning("slack.unreachable", method=method, error=str(error))
                await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
        raise AssertionError("waits never end")

    def _answer_later(self, work: asyncio.Task[str], response_url: str) -> None:
        task = asyncio.create_task(self._answer(work, response_url), name="slack late answer")
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _answer(self, work: asyncio.Task[str], response_url: str) -> None:
        """Send a slow command's sentence to where Slack wants it."""
        try:
            await asyncio.wait((work,))
        finally:
            work.cancel()
        if work.cancelled() or work.exception() is not None:
            text = _TRY_AGAIN
            log.error("slack.command_failed", error=type(work.exception()).__name__)
        else:
            text = work.result()
        try:
            timeout = aiohttp.ClientTimeout(total=10.0)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                where, proxy = URL(response_url, encoded=True), self._api.client.proxy
                await session.post(where, json=_ephemeral(text), proxy=proxy)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("slack.command_unanswered", error=type(error).__name__)


class _Intake:
    """Takes every envelope: 200 acknowledges it, 503 makes Slack send it again."""

    def __init__(self, inbox: Inbox, reader: EventReader, ask: str, answer_later: Any) -> None:
        self._inbox, self._reader, self._ask = inbox, reader, ask
        self._answer_later = answer_later

    async def take(self, body: dict[str, Any]) -> BoltResponse:
        try:
            if "command" in body:
                return await self._command(body)
            if (event := body.get("event")) and (message := await self._reader.read(event)):
                await self._inbox.accept(message)
        except (NotAccepted, DeliveryError) as error:
            log.warning("slack.not_accepted", reason=type(error).__name__)
            return BoltResponse(status=503)
        return BoltResponse(status=200)

    async def _command(self, body: Mapping[str, Any]) -> BoltResponse:
        work = asyncio.create_task(self._run(body), name="slack command")
        done, _ = await asyncio.wait((work,), timeout=ACK_WITHIN_S)
        if not done:
            self._answer_later(work, str(body.get("response_url", "")))
            return BoltResponse(status=200)
        text = work.result()
        return BoltResponse(status=200, body=_ephemeral(text) if text else "")

    async def _run(self, body: Mapping[str, Any]) -> str:
        try:
            command = await self._reader.read_command(body)
            if command.name == self._ask:
                return await self._question(command, body)
            return await self._inbox.command(command)
        except (NotAccepted, DeliveryError):
            return _TRY_AGAIN

    async def _question(self, command: Command, body: Mapping[str, Any]) -> str:
        if not command.argument:
            return f"Ask me something: `/{self._ask} your question`."
        message = self._reader.question(
            command, trigger_id=str(body.get("trigger_id", "")), sent_at=time.time()
        )
        return _EXCUSES.get(await self._inbox.accept(message), "")


async def _until_dead(handler: AsyncSocketModeHandler) -> None:
    """Return when the SDK has not managed to be connected for a while."""
    seen = time.monotonic()
    while time.monotonic() - seen < _DEAD_AFTER_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        if await handler.client.is_connected():
            seen = time.monotonic()


def _waits() -> Any:
    yield from _BACKOFF_S
    while True:
        yield _BACKOFF_S[-1]


def _refusal(name: str, what: str, error: str) -> str:
    where = {
        "bot token": "copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions",
        "app token": "create an App-Level Token (xapp-…) with connections:write",
    }[what]
    return f"{name}: the {what} was refused ({error}); {where} and set it again"


def _not_slack(name: str, method: str, missing: list[str]) -> str:
    return (
        f"{name}: the answer to {method} has no {' and no '.join(missing)}; check that the API"
        " address is Slack's and that the token belongs to one workspace"
    )


def _ephemeral(text: str) -> dict[str, Any]:
    return {"response_type": "ephemeral", "text": escaped(text)}
