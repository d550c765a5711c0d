"""The workspaces of one app: whose token serves which, who the bot is there, and who is gone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog

from adapters.chat.slack_api import ABSENT, TOKEN_ERRORS, SlackApi, SlackCallError, token_of
from adapters.chat.slack_installs import Installation, InstallRecords, Installs
from adapters.chat.slack_socket import insist
from adapters.chat.slack_workspace import Bot, Setup, Workspace
from adapters.chat.types import NotAccepted
from tools.identity import tenant_of

log = structlog.get_logger(__name__)

_LOOK_S = 1.5  # the ack is due within 3 s


class Teams:
    """The bot's own workspace, and those that installed the app."""

    def __init__(
        self, setup: Setup, *, bot_token: str, installs: InstallRecords | None, is_lenient: bool
    ) -> None:
        """`is_lenient`: with one workspace and one socket, whatever comes is for it."""
        self._setup, self._bot_token = setup, bot_token
        self.installs = Installs(installs, changed=self.look_again) if installs else None
        self.app_api = SlackApi(name=setup.name, tokens=token_of(bot_token), api_url=setup.api_url)
        self.own: Bot | None = None
        self._is_lenient = is_lenient and installs is None
        self._known: dict[str, Workspace] = {}
        self._is_open = False

    @property
    def warnings(self) -> dict[str, str]:
        return {
            f"{self._setup.name} {team or 'own workspace'}": f"{each.api.refused}: install it again"
            for team, each in self._known.items()
            if each.api.refused
        }

    def paused(self, tenant: str) -> str:
        known = self._known.get(self._team_of(tenant))
        return known.api.paused if known is not None else ""

    def has_left(self, tenant: str) -> bool:
        """Whether the app was removed there; a token that the operator set is theirs to mend."""
        known = self._known.get(self._team_of(tenant))
        if known is None:
            return False
        gone = ABSENT if self.installs is not None else {"app_uninstalled"}
        return known.api.refused in gone

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep connections; raises `AdapterError` when the bot's own token is refused."""
        self.app_api.open()
        try:
            if self._bot_token:
                await self._meet()
            self._is_open = True
            for each in self._known.values():
                each.api.open()
            yield
        finally:
            self._is_open = False
            for api in (self.app_api, *(each.api for each in self._known.values())):
                await api.aclose()
            self._known.clear()

    async def _meet(self) -> None:
        """Learn who the bot is in its own workspace."""
        who = await insist(
            self.app_api,
            "auth.test",
            what="bot token",
            needs=("team_id", "user_id"),
            name=self._setup.name,
            token=self._bot_token,
        )
        enterprise = str(who.get("enterprise_id") or "") if who.get("is_enterprise_install") else ""
        self.own = Bot(str(who["team_id"]), str(who["user_id"]), enterprise)

    def of(self, tenant: str) -> Workspace:
        return self.workspace(self._team_of(tenant))

    def _team_of(self, tenant: str) -> str:
        return tenant.removeprefix(tenant_of("slack", "")) if self.installs else ""

    @property
    def own_team_id(self) -> str:
        return self.own.team_id if self.own is not None and self.installs else ""

    def workspace(self, team: str) -> Workspace:
        """A team's way out; one that serves no installations has a single one for all."""
        if team not in self._known:

            async def token() -> str:
                return await self._token(team)

            made = self._known[team] = Workspace(self._setup, token, team_id=team)
            if self._is_open:  # else a call uses a connection of its own
                made.api.open()
        return self._known[team]

    async def _token(self, team: str) -> str:
        if self.installs is None:
            return self._bot_token
        if (found := await self.installs.of(team)) is not None:
            return found.bot_token
        return self._bot_token if self.own is not None and team == self.own.team_id else ""

    async def bot_in(self, owner: str, team: str) -> Bot | None:
        """Who the bot is there; raises `NotAccepted` while the store can't say."""
        own = self.own
        if own is not None and (owner == own.team_id or self._is_lenient):
            return own
        if own is not None and owner and owner == own.enterprise_id:
            return Bot(team or own.team_id, own.user_id, own.enterprise_id)
        if self.installs is None or (found := await self.installs.of(owner)) is None:
            return None
        if not found.team_id and team and await self.installs.of(team) is None:
            await self.installs.save(team, Installation(of=found.enterprise_id))
        return Bot(found.team_id or team, found.bot_user_id, found.enterprise_id)

    async def gone(self, owner: str, event: Mapping[str, Any]) -> None:
        """The app was uninstalled, or its bot's token revoked: stop there at once.

        The word may come late, when the app is installed again: then its token is good.
        """
        reason, bot = str(event.get("type")), await self.bot_in(owner, "")
        revoked = (event.get("tokens") or {}).get("bot") or ()
        if bot is None or (reason == "tokens_revoked" and bot.user_id not in revoked):
            return
        team = owner if self.installs is not None else ""
        token = await self._token(team)
        if await self._is_good(token):
            log.info("slack.told_late", adapter=self._setup.name, reason=reason)
            return
        self.workspace(team).api.refuse(reason, token)
        if self.installs is not None and await self.installs.of(owner) is not None:
            await self.installs.drop(owner)
            await self.look_again()

    async def _is_good(self, token: str) -> bool:
        """Raises `NotAccepted` when Slack can't say: it tells us again."""
        bearer = f"Bearer {token}"
        try:
            await self.app_api.call("auth.test", timeout_s=_LOOK_S, authorization=bearer)
        except SlackCallError as error:
            if error.error in TOKEN_ERRORS:
                return False
            raise NotAccepted("Slack did not say whether the token is good") from error
        return True

    async def look_again(self) -> None:
        """Installations changed: every workspace that has one, or had, looks for its token."""
        for team, each in list(self._known.items()):
            if team != self.own_team_id:
                await each.api.look_again()
