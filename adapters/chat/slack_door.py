"""Slack's way in over HTTP: one small application with the three addresses an app has."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from adapters.chat.slack_api import SlackApi
from adapters.chat.slack_http import (
    EVENTS_PATH,
    EventsEndpoint,
    ProcessSignatures,
    Receive,
    Scope,
    Send,
    Signatures,
    Take,
)
from adapters.chat.slack_installs import (
    INSTALL_PATH,
    REDIRECT_PATH,
    Installation,
    InstallPages,
    Installs,
    States,
)


@dataclass(frozen=True, slots=True)
class OAuth:
    """What lets other workspaces install the app."""

    client_id: str
    client_secret: str
    public_url: str
    states: States
    authorize_url: str


@dataclass(frozen=True, slots=True)
class HttpSetup:
    """What it takes to be told over HTTP."""

    signing_secret: str
    signatures: Signatures = field(default_factory=ProcessSignatures)
    app_id: str | None = None
    oauth: OAuth | None = None
    clock: Callable[[], float] = time.time


class Door:
    """An ASGI application; what it does not know is not found, with an empty body."""

    def __init__(
        self,
        http: HttpSetup,
        take: Take,
        installs: Installs | None,
        api: SlackApi,
        installed: Callable[[Installation], Awaitable[None]],
    ) -> None:
        self._events = EventsEndpoint(
            take,
            signing_secret=http.signing_secret,
            signatures=http.signatures,
            app_id=http.app_id,
            clock=http.clock,
        )
        self._pages: InstallPages | None = None
        if installs is not None and (oauth := http.oauth) is not None:
            self._pages = InstallPages(
                installs,
                oauth.states,
                api,
                client_id=oauth.client_id,
                client_secret=oauth.client_secret,
                public_url=oauth.public_url,
                authorize_url=oauth.authorize_url,
                installed=installed,
            )

    @property
    def warnings(self) -> Mapping[str, str]:
        if not (skew_s := self._events.skew_s):
            return {}
        return {"slack clock": f"off by {abs(skew_s):.0f} s: set this machine's clock (NTP)"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == EVENTS_PATH:
            await self._events(scope, receive, send)
        elif self._pages and path in (INSTALL_PATH, REDIRECT_PATH) and scope["method"] == "GET":
            await self._pages(scope, receive, send)
        else:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
