"""Slack's Socket Mode, over slack-bolt: envelopes come in, and each is acknowledged or not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse

from adapters.chat.slack_api import TOKEN_ERRORS, SlackApi, SlackCallError
from adapters.chat.types import AdapterError

log = structlog.get_logger(__name__)

_CONNECT_WITHIN_S = 30.0
_DEAD_AFTER_S = 45.0  # the SDK's own reconnecting gets this long
_LOOK_EVERY_S = 5.0
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)

Take = Callable[[dict[str, Any]], Awaitable[tuple[int, Mapping[str, Any]]]]


class Socket:
    """The app's connection to Slack, made again whenever it dies."""

    def __init__(self, api: SlackApi, *, app_token: str, name: str) -> None:
        self._api, self._app_token, self._name = api, app_token, name
        self._handler: AsyncSocketModeHandler | None = None

    @property
    def connected(self) -> bool:
        if self._handler is None:
            return False
        session = self._handler.client.current_session
        return session is not None and not session.closed

    async def listen(
        self, take: Take, *, on_hello: Callable[[], None], alive: Callable[[], None]
    ) -> None:
        """Give every envelope to `take` until cancelled; raises `AdapterError` when the token is
        refused."""
        app = self._bolt(take)
        while True:
            async with self._connected(app, on_hello) as handler:
                await _until_dead(handler, alive)
            log.warning("slack.reconnecting", adapter=self._name)

    def _bolt(self, take: Take) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            return AuthorizeResult(enterprise_id=None, team_id=None)

        app = AsyncApp(
            client=self._api.client_for(None),
            authorize=authorize,  # tokens are chosen later, by what the envelope says
            logger=self._api.logger,
            name=self._name,
            request_verification_enabled=False,  # a socket has no signature
            ignoring_self_events_enabled=False,  # whose they are is told by the workspace
            process_before_response=True,
        )

        async def taken(body: dict[str, Any]) -> BoltResponse:
            status, answer = await take(body)
            return BoltResponse(status=status, body=dict(answer) or "")

        app.middleware(taken)
        return app

    @contextlib.asynccontextmanager
    async def _connected(
        self, app: AsyncApp, on_hello: Callable[[], None]
    ) -> AsyncIterator[AsyncSocketModeHandler]:
        ticket = await insist(
            self._api,
            "apps.connections.open",
            what="app token",
            needs=("url",),
            name=self._name,
            token=self._app_token,
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


async def insist(
    api: SlackApi, method: str, *, what: str, needs: tuple[str, ...], name: str, token: str
) -> Mapping[str, Any]:
    """Call until Slack answers; raises `AdapterError` for a refused token, or an answer without
    `needs`."""
    for wait_s in _waits():
        try:
            answer = await api.call(method, authorization=f"Bearer {token}")
            if missing := [each for each in needs if not answer.get(each)]:
                raise AdapterError(_not_slack(name, method, missing))
            return answer
        except SlackCallError as error:
            if error.error in TOKEN_ERRORS or error.error == "missing_scope":
                raise AdapterError(_refusal(name, what, error.error)) from error
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
