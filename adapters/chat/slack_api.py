"""Slack's Web API: one call, one kind of error, nothing sent twice behind our back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.chat.ours import request_tracing
from adapters.chat.refusals import Told
from adapters.chat.slack_errors import meaning_of, remedy_of
from adapters.chat.types import DeliveryError, NotAccepted

log = structlog.get_logger(__name__)

CALL_TIMEOUT_S = 15.0
ABSENT = frozenset({"app_uninstalled", "not_installed", "tokens_revoked"})
LOOK_AGAIN_S = 60.0  # after a refused token: it may have been given back

Tokens = Callable[[], Awaitable[str]]  # the token as it is now; empty when there is none

NEEDED_SCOPES = (
    "app_mentions:read",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "mpim:history",
    "mpim:read",
    "users:read",
)
TOKEN_ERRORS = frozenset(
    {
        "account_inactive",
        "invalid_auth",
        "not_allowed_token_type",
        "not_authed",
        "token_expired",
        "token_revoked",
    }
)
# What the SDK raises when a proxy answers with a page or a list in place of Slack's object
_NO_JSON = (AttributeError, TypeError, ValueError)
_TOO_FAST = frozenset({"rate_limited", "ratelimited"})
_READS = ("users.info", "conversations.", "files.info", "files.getUploadURLExternal")


class SlackCallError(DeliveryError):
    """A call failed; `error` is Slack's word for it, empty when no answer came."""

    def __init__(
        self,
        adapter: str,
        method: str,
        error: str,
        *,
        retryable: bool,
        needed: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        remedy = remedy_of(error, needed=needed)
        detail = f"{method} failed ({error or 'no answer'})" + (f"; {remedy}" if remedy else "")
        super().__init__(adapter, detail, retryable=retryable)
        self.error, self.needed, self.retry_after_s = error, needed, retry_after_s

    @property
    def doubtful(self) -> bool:
        """No answer came, or none to rely on: Slack may or may not have done it."""
        return not self.error or meaning_of(self.error).may_be_done


class SlackApi:
    """The calls of one workspace. A call in flight when it is closed still ends well.

    Once the token is refused nothing is sent but one call in `LOOK_AGAIN_S`, until one succeeds
    or the token is another.
    """

    def __init__(
        self,
        *,
        name: str,
        tokens: Tokens,
        api_url: str,
        team_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._tokens, self._team_id, self._clock = name, tokens, team_id, clock
        self.refused = ""  # Slack's word for why the token is good for nothing
        self._refused_token, self._look_at = "", 0.0
        self._told = Told(adapter=name, event="slack.refused")
        quiet = logging.getLogger("adapters.chat.slack.sdk")
        # The SDK writes whole payloads at DEBUG, and at WARNING advice on how to build an app.
        quiet.setLevel(logging.ERROR)
        self.logger = quiet
        self._api_url = api_url.rstrip("/") + "/"
        self.client = self.client_for(None)
        self.scopes: frozenset[str] = frozenset()
        self.bot_user_id = ""  # known once the token was checked
        self._in_flight = 0
        self._closing: aiohttp.ClientSession | None = None

    def client_for(self, token: str | None) -> AsyncWebClient:
        return AsyncWebClient(
            token=token,
            base_url=self._api_url,
            timeout=int(CALL_TIMEOUT_S),
            logger=self.logger,
            retry_handlers=[],  # the default one posts twice when a line drops late
        )

    def open(self) -> None:
        """Use one kept connection pool from here on."""
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        self.client.session = aiohttp.ClientSession(
            timeout=timeout, trace_configs=[request_tracing()]
        )

    async def aclose(self) -> None:
        """Later calls use a connection each; the pool closes with its last call."""
        self._closing, self.client.session = self.client.session, None
        await self._close_when_idle()

    async def token(self, method: str) -> str:
        """The workspace's token; raises `SlackCallError` where there is none that is good."""
        try:
            token = await self._tokens()
        except NotAccepted as error:
            raise SlackCallError(self._name, method, "token_unread", retryable=True) from error
        if not token and not self.refused:
            self.refuse("not_installed")
        if not token or (self.paused and token == self._refused_token):
            raise SlackCallError(self._name, method, self.refused, retryable=False)
        return token

    @property
    def paused(self) -> str:
        """Why nothing may be sent now; empty again when it is time to look."""
        return self.refused if self._clock() < self._look_at else ""

    async def look_again(self) -> None:
        """The installations changed: this one may be gone, or there again."""
        try:
            token = await self._tokens()
        except NotAccepted:
            return
        if not token:
            self.refuse("not_installed")
        elif self.refused in ABSENT or token != self._refused_token:
            self.restore()

    def refuse(self, reason: str, token: str = "") -> None:
        """Send nothing more; told once."""
        if not self.refused:
            log.error(
                "slack.token_refused",
                adapter=self._name,
                team=self._team_id,
                error=reason,
                remedy="install the app again in that workspace; until then nothing is sent there",
            )
        self.refused, self._refused_token = self.refused or reason, token
        self._look_at = self._clock() + LOOK_AGAIN_S

    def restore(self) -> None:
        """The token is good (again)."""
        if self.refused:
            log.info("slack.token_restored", adapter=self._name, team=self._team_id)
        self.refused, self._look_at = "", 0.0

    async def call(
        self,
        method: str,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        authorization: str = "",
        quiet: bool = False,
        **args: Any,
    ) -> Mapping[str, Any]:
        """The answer's body; raises `SlackCallError` only.

        `authorization` takes the place of the workspace's token. A refusal of a `quiet` call
        is no trouble of the operator's: there is another way.
        """
        how: dict[str, Any] = {"json": args}
        if method.startswith(_READS):
            how = {"http_verb": "GET", "params": args}
        token = "" if authorization else await self.token(method)
        how["headers"] = {"Authorization": authorization or f"Bearer {token}"}
        self._in_flight += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.client.api_call(method, **how)
        except SlackApiError as error:
            refused = self._refused(method, error)
            if token and refused.error in TOKEN_ERRORS:
                self.refuse(refused.error, token)
            elif not refused.retryable and not quiet:
                channel = str(args.get("channel") or args.get("channel_id") or "")
                remedy = remedy_of(refused.error, needed=refused.needed)
                self._told.tell(refused.error, channel, remedy, method=method)
            raise refused from error
        except (aiohttp.ClientError, OSError, TimeoutError, *_NO_JSON) as error:
            raise SlackCallError(self._name, method, "", retryable=True) from error
        finally:
            self._in_flight -= 1
            await self._close_when_idle()
        if token:
            self.restore()
        if method == "auth.test":
            self.bot_user_id = str(answer.get("user_id") or "") if token else self.bot_user_id
            scopes = str(answer.headers.get("x-oauth-scopes", ""))
            self.scopes = frozenset(scope.strip() for scope in scopes.split(",") if scope.strip())
        return answer.data if isinstance(answer.data, dict) else {}

    async def _close_when_idle(self) -> None:
        if self._closing is not None and self._in_flight == 0:
            session, self._closing = self._closing, None
            await session.close()

    def _refused(self, method: str, error: SlackApiError) -> SlackCallError:
        answer: Any = error.response
        status = int(getattr(answer, "status_code", 0) or getattr(answer, "status", 200))
        data = getattr(answer, "data", None)
        body: Mapping[str, Any] = data if isinstance(data, dict) else {}
        word = "" if status >= 500 else str(body.get("error") or "")
        if not word and 300 <= status < 500:
            word = f"http_{status}"
        retry_after_s = None
        if status == 429 or word in _TOO_FAST:
            retry_after_s = _seconds(answer.headers.get("Retry-After"))
        return SlackCallError(
            self._name,
            method,
            word,
            retryable=not word or retry_after_s is not None or meaning_of(word).passes,
            needed=str(body.get("needed", "")),
            retry_after_s=retry_after_s,
        )


def token_of(token: str) -> Tokens:
    """Always the same."""

    async def tokens() -> str:
        return token

    return tokens


def _seconds(header: str | None) -> float:
    try:
        return max(float(header or 1), 0.0)
    except ValueError:
        return 30.0
