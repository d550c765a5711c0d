"""Where the app was installed: each workspace's token, and the pages that install it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, urlencode

import msgspec
import structlog

from adapters.chat.slack_api import NEEDED_SCOPES, SlackApi, SlackCallError
from adapters.chat.slack_http import Receive, Scope, Send
from adapters.chat.types import NotAccepted

log = structlog.get_logger(__name__)

INSTALL_PATH = "/slack/install"
REDIRECT_PATH = "/slack/oauth_redirect"
STATE_S = 600.0
_LOOK_EVERY_S = 2.0
_COOKIE = "firstline_install"
_READ_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


class Installation(msgspec.Struct, frozen=True):
    """One installation; that of a whole organisation has no `team_id`.

    With `of` it is only a workspace's way to the installation of its organisation.
    """

    bot_token: str = ""
    bot_user_id: str = ""
    team_id: str = ""
    enterprise_id: str = ""
    of: str = ""
    format: Literal[1] = 1

    @property
    def owner(self) -> str:
        return self.team_id or self.enterprise_id


class InstallRecords(Protocol):
    """Keeps records of installations sealed, for every process; methods raise `NotAccepted`."""

    @property
    def is_sealed(self) -> bool: ...

    async def load(self, owner: str) -> bytes | None: ...

    async def save(self, owner: str, record: bytes) -> None: ...

    async def drop(self, owner: str) -> None: ...

    async def owners(self) -> list[str]: ...

    async def generation(self) -> int: ...


class States(Protocol):
    """States of installations that were begun; methods raise `NotAccepted`."""

    async def begin(self, name: str, *, within_s: float) -> str: ...

    async def take(self, name: str) -> bool: ...


class Installs:
    """The installations as this process knows them; `watch` keeps that fresh."""

    def __init__(self, records: InstallRecords, *, changed: Callable[[], Awaitable[None]]) -> None:
        self._records, self._changed = records, changed
        self._known: dict[str, Installation | None] = {}
        self._generation: int | None = None

    @property
    def is_sealed(self) -> bool:
        return self._records.is_sealed

    async def of(self, owner: str) -> Installation | None:
        """The installation that serves a workspace or an organisation; raises `NotAccepted`."""
        if owner not in self._known:
            self._known[owner] = _read(await self._records.load(owner))
        found = self._known[owner]
        return await self.of(found.of) if found is not None and found.of else found

    async def owners(self) -> list[str]:
        return await self._records.owners()

    async def save(self, owner: str, installation: Installation) -> None:
        await self._records.save(owner, msgspec.json.encode(installation))
        self._known.pop(owner, None)

    async def drop(self, owner: str) -> None:
        self._known[owner] = None
        await self._records.drop(owner)

    async def watch(self) -> None:
        """Forget what is known whenever any process changed it, until cancelled."""
        while True:
            try:
                generation = await self._records.generation()
            except NotAccepted:
                generation = self._generation or 0  # what is known is good enough meanwhile
            if generation != self._generation:
                self._generation = generation
                self._known.clear()
                await self._changed()
            await asyncio.sleep(_LOOK_EVERY_S)


class InstallPages:
    """`INSTALL_PATH` sends a person to Slack, which sends them back to `REDIRECT_PATH`."""

    def __init__(
        self,
        installs: Installs,
        states: States,
        api: SlackApi,
        *,
        client_id: str,
        client_secret: str,
        public_url: str,
        authorize_url: str,
        installed: Callable[[Installation], Awaitable[None]],
    ) -> None:
        self._installs, self._states, self._api = installs, states, api
        self._client_id, self._installed = client_id, installed
        pair = f"{client_id}:{client_secret}".encode()
        self._basic = "Basic " + base64.b64encode(pair).decode()
        self._back = public_url.rstrip("/") + REDIRECT_PATH
        self._slack = authorize_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = scope["path"] == INSTALL_PATH
        try:
            status, text, headers = await (self._begin() if begin else self._finish(scope))
        except NotAccepted:
            status, text, headers = 503, "The bot's store is not reachable; try again soon.", {}
        body = _PAGE.format(text=html.escape(text)).encode()
        shown = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}
        told = {**shown, "content-length": str(len(body)), "connection": "close", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    async def _begin(self) -> tuple[int, str, Mapping[str, str]]:
        if not self._installs.is_sealed:
            log.error("slack.install_refused", remedy="set memory.key_file: openssl rand -hex 32")
            return 503, _NO_KEY, {}
        state = secrets.token_urlsafe(32)
        await self._states.begin(_state_name(state), within_s=STATE_S)
        asked = {
            "client_id": self._client_id,
            "scope": ",".join(NEEDED_SCOPES),
            "state": state,
            "redirect_uri": self._back,
        }
        secure = "; Secure" if self._back.startswith("https:") else ""
        cookie = f"{_COOKIE}={state}; Path=/slack; Max-Age={STATE_S:.0f}; HttpOnly; SameSite=Lax"
        where = f"{self._slack}?{urlencode(asked)}"
        return 302, "On to Slack.", {"location": where, "set-cookie": cookie + secure}

    async def _finish(self, scope: Scope) -> tuple[int, str, Mapping[str, str]]:
        told = parse_qs(bytes(scope["query_string"]).decode("ascii", "replace"), max_num_fields=20)
        state, code = told.get("state", [""])[0], told.get("code", [""])[0]
        mine = secrets.compare_digest(_cookie(scope).encode(), state.encode()) if state else False
        if not mine or not await self._states.take(_state_name(state)):
            return 400, "This link is used up or not yours. Begin again at /slack/install.", {}
        if not code:
            return 400, "Slack says that the installation was cancelled.", {}
        try:
            answer = await self._api.call(
                "oauth.v2.access", authorization=self._basic, code=code, redirect_uri=self._back
            )
        except SlackCallError as error:
            log.error("slack.install_failed", error=error.error or "no answer")
            return 502, "Slack did not complete the installation. Begin again.", {}
        installation = _installation_of(answer)
        if installation is None:
            return 502, "Slack's answer has no bot token. Begin again.", {}
        await self._installs.save(installation.owner, installation)
        log.info("slack.installed", owner=installation.owner)
        await self._installed(installation)
        return 200, "Installed. Whom it answers is its operator's to say.", {}


def _installation_of(answer: Mapping[str, Any]) -> Installation | None:
    is_whole = bool(answer.get("is_enterprise_install"))
    team, enterprise = answer.get("team") or {}, answer.get("enterprise") or {}
    found = Installation(
        bot_token=str(answer.get("access_token") or ""),
        bot_user_id=str(answer.get("bot_user_id") or ""),
        team_id="" if is_whole else str(team.get("id") or ""),
        enterprise_id=str(enterprise.get("id") or ""),
    )
    return found if found.bot_token and found.owner and found.bot_user_id else None


def _read(record: bytes | None) -> Installation | None:
    if record is None:
        return None
    try:
        return msgspec.json.decode(record, type=Installation)
    except _READ_ERRORS:
        log.error("slack.bad_installation", remedy="install the app again in that workspace")
        return None


def _state_name(state: str) -> str:
    return "install-" + hashlib.sha256(state.encode()).hexdigest()


def _cookie(scope: MutableMapping[str, Any]) -> str:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(_COOKIE)
            except CookieError:
                return ""
            return found.value if found is not None else ""
    return ""


_NO_KEY = (
    "This bot can't keep tokens yet: its operator must give it a key first. Make one with "
    "“openssl rand -hex 32 > key”, name the file in memory.key_file, and start the bot again."
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>firstline</title>'
    "<body><p>{text}</p></body></html>"
)
