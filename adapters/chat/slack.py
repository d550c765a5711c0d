"""Slack by Socket Mode, over slack-bolt. Events are stored before they are acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse

from adapters.chat.slack_api import TOKEN_ERRORS, SlackApi, SlackCallError
from adapters.chat.slack_backfill import Backfill
from adapters.chat.slack_blocks import PART_CHARS
from adapters.chat.slack_directory import Directory
from adapters.chat.slack_doctor import diagnose
from adapters.chat.slack_events import EventReader
from adapters.chat.slack_files import SlackFiles
from adapters.chat.slack_intake import Intake
from adapters.chat.slack_pacing import Pools, delete
from adapters.chat.slack_reply import SlackReply
from adapters.chat.slack_session import Sessions
from adapters.chat.types import (
    AdapterError,
    Attachment,
    Inbox,
    Limits,
    MayShow,
    Message,
    always,
)
from tools.identity import ConversationKey

__all__ = ["SlackAdapter", "diagnose"]

log = structlog.get_logger(__name__)

_CONNECT_WITHIN_S = 30.0
_DEAD_AFTER_S = 45.0  # the SDK's own reconnecting gets this long
_LOOK_EVERY_S = 5.0
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)


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
        backfill_again_s: float = 30.0,
        agent: bool = False,
    ) -> None:
        self._name, self._app_token, self._ask = name, app_token, ask_command
        self._settle_s, self._backfill_again_s = settle_s, backfill_again_s
        self._api = SlackApi(name=name, bot_token=bot_token, api_url=api_url)
        self._files = SlackFiles(self._api, bot_token=bot_token, api_url=api_url)
        self._pools = Pools(updates=updates_per_minute, window_s=60.0, edit_every_s=edit_every_s)
        self._sessions = Sessions(
            self._api, enabled=agent, updates=updates_per_minute, window_s=60.0
        )
        self._limits = Limits(PART_CHARS, edits_per_window=updates_per_minute, window_s=60.0)
        self._handler: AsyncSocketModeHandler | None = None
        self._answers_only = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        if self._handler is None:
            return self._answers_only
        session = self._handler.client.current_session
        return session is not None and not session.closed

    async def run(self, inbox: Inbox) -> None:
        """Feed `inbox` until cancelled; raises `AdapterError` when a token is refused."""
        async with self._opened() as who:
            team_id, bot_user_id = str(who["team_id"]), str(who["user_id"])
            directory = Directory(self._api, team_id=team_id, bot_user_id=bot_user_id)
            reader = EventReader(
                directory, adapter=self._name, team_id=team_id, bot_user_id=bot_user_id
            )
            again_s = self._backfill_again_s
            backfill = Backfill(self._api, self._pools, reader, inbox, again_s=again_s)
            intake = Intake(
                inbox, reader, self._api, ask=self._ask, refused=backfill.refused
            )
            try:
                await self._listen(self._bolt(intake, who), backfill)
            finally:
                intake.close()

    async def answer_only(self) -> None:
        """Reply, fetch and remove until cancelled, without a socket."""
        async with self._opened():
            self._answers_only = True
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._answers_only = False

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[Mapping[str, Any]]:
        """The Web API with a checked bot token; yields who the bot is."""
        self._api.open()
        try:
            yield await self._insist("auth.test", what="bot token", needs=("team_id", "user_id"))
        finally:
            await self._api.aclose()

    async def _listen(self, app: AsyncApp, backfill: Backfill) -> None:
        await backfill.prepare()
        while True:
            connected = self._connected(app, backfill.connected)
            async with connected as handler, asyncio.TaskGroup() as group:
                filling = group.create_task(backfill.run(), name="slack backfill")
                await _until_dead(handler, backfill.alive)
                filling.cancel()
            log.warning("slack.reconnecting", adapter=self._name)

    def reply(self, message: Message, *, may_show: MayShow = always) -> SlackReply:
        return SlackReply(
            self._api,
            self._pools,
            self._sessions,
            message,
            settle_s=self._settle_s,
            may_show=may_show,
        )

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            await delete(self._api, self._pools, message_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return await self._files.fetch(attachment, max_bytes=max_bytes)

    def _bolt(self, intake: Intake, who: Mapping[str, Any]) -> AsyncApp:
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

        async def take(body: dict[str, Any]) -> BoltResponse:
            status, answer = await intake.take(body)
            return BoltResponse(status=status, body=answer or "")

        app.middleware(take)
        return app

    @contextlib.asynccontextmanager
    async def _connected(
        self, app: AsyncApp, on_hello: Callable[[], None]
    ) -> AsyncIterator[AsyncSocketModeHandler]:
        ticket = await self._insist(
            "apps.connections.open", what="app token", needs=("url",), token=self._app_token
        )
        handler = AsyncSocketModeHandler(app, self._app_token, logger=self._api.logger)
        handler.client.wss_uri = str(ticket["url"])

        async def listen(client: Any, frame: dict[str, Any], raw: str | None) -> None:
            if frame.get("type") == "hello":
                on_hello()

        handler.client.message_listeners.append(listen)
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


async def _until_dead(handler: AsyncSocketModeHandler, alive: Callable[[], None]) -> None:
    """Return when the SDK has not managed to be connected for a while."""
    seen = time.monotonic()
    while time.monotonic() - seen < _DEAD_AFTER_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        if await handler.client.is_connected():
            seen = time.monotonic()
            alive()


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
