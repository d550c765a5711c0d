"""One app in several workspaces: a Web API that tells them apart by token, and OAuth."""

from __future__ import annotations

import base64
import uuid
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from bot.testing.loopback import Loopback
from bot.testing.slack import SlackTwin
from bot.testing.slack.http import HttpEvents

Json = dict[str, Any]


class SlackApp:
    """`async with SlackApp() as app:`, then `await app.workspace("T0ONE")` for each of them."""

    client_id, client_secret = "11.22", "twin-client-secret"
    signing_secret = "twin-signing-secret"

    def __init__(self) -> None:
        self.workspaces: dict[str, SlackTwin] = {}
        self.base_url = self.events_url = ""
        self.exchanged: list[str] = []
        self.enterprise_id: str | None = None  # set: installing is for the whole organisation
        self._origins: dict[str, str] = {}
        self._codes: dict[str, tuple[str, str]] = {}
        self._server = Loopback()

    @property
    def api_url(self) -> str:
        return self.base_url + "/api"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api/{method}", self._serve)
        app.router.add_get("/files-pri/{file_id}/download/{name}", self._download)
        self.base_url = await self._server.open(app)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for slack in self.workspaces.values():
            await slack.__aexit__(kind, error, at)
        await self._server.close()

    async def workspace(self, team_id: str) -> SlackTwin:
        """A workspace that has not installed the app yet."""
        slack, events = SlackTwin(), HttpEvents(self.signing_secret)
        events.url = self.events_url
        slack.socket, slack.world.team_id = events, team_id
        slack.world.bot_user_id, slack.bot_token = f"U{team_id}BOT", f"xoxb-{team_id}"
        slack.world.add_user(slack.world.bot_user_id, "bot")
        self.workspaces[team_id] = await slack.__aenter__()
        self._origins[team_id], slack.base_url = slack.base_url, self.base_url
        return slack

    def listen_at(self, url: str) -> None:
        """Where the app is told of what happens."""
        self.events_url = url
        for slack in self.workspaces.values():
            if isinstance(slack.socket, HttpEvents):
                slack.socket.url = url

    def approve(self, team_id: str, redirect_uri: str) -> str:
        """A person of the workspace says yes; the code that Slack sends along."""
        code = uuid.uuid4().hex
        self._codes[code] = (team_id, redirect_uri)
        return code

    def uninstall(self, team_id: str) -> None:
        """The token is dead at once; then the app is told, in Slack's order of two events."""
        slack = self.workspaces[team_id]
        dead, slack.bot_token = slack.bot_token, f"xoxb-{uuid.uuid4().hex}"
        if dead:
            bots = {"oauth": [], "bot": [slack.world.bot_user_id]}
            slack.deliver({"type": "tokens_revoked", "tokens": bots})
            slack.deliver({"type": "app_uninstalled"})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["method"] == "oauth.v2.access":
            return web.json_response(await self._exchange(request))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for slack in self.workspaces.values():
            if token == slack.bot_token:
                return await slack.web.serve(request)
        error = "account_inactive" if token.startswith("xoxb-") else "invalid_auth"
        return web.json_response({"ok": False, "error": error})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """From the workspace that keeps the file, with whatever token came along."""
        file_id = request.match_info["file_id"]
        keeps = (team for team, each in self.workspaces.items() if file_id in each.world.files)
        headers = {"Authorization": request.headers.get("Authorization", "")}
        where = self._origins[next(keeps)] + request.path
        async with aiohttp.ClientSession() as session, session.get(where, headers=headers) as got:
            return web.Response(
                body=await got.read(), status=got.status, content_type=got.content_type
            )

    async def _exchange(self, request: web.Request) -> Json:
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {pair}":
            return {"ok": False, "error": "invalid_client_id"}
        told = await request.json()
        team_id, redirect_uri = self._codes.pop(str(told.get("code")), ("", ""))
        if not team_id or told.get("redirect_uri") != redirect_uri:
            return {"ok": False, "error": "invalid_code" if not team_id else "bad_redirect_uri"}
        self.exchanged.append(team_id)
        slack, whole = self.workspaces[team_id], self.enterprise_id
        return {
            "ok": True,
            "access_token": slack.bot_token,
            "token_type": "bot",
            "scope": ",".join(sorted(slack.scopes)),
            "bot_user_id": slack.world.bot_user_id,
            "app_id": slack.world.app_id,
            "team": None if whole else {"id": team_id, "name": team_id.lower()},
            "enterprise": {"id": whole, "name": "twins"} if whole else None,
            "is_enterprise_install": bool(whole),
            "authed_user": {"id": "U1"},
        }
