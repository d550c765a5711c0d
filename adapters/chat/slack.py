"""Slack, by Socket Mode or HTTP, in one workspace or many. Events are stored before the ack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from adapters.chat.slack_api import TOKEN_ERRORS, SlackApi, SlackCallError, token_of
from adapters.chat.slack_blocks import PART_CHARS
from adapters.chat.slack_doctor import diagnose
from adapters.chat.slack_door import Door, HttpSetup, OAuth
from adapters.chat.slack_events import FILE_OF
from adapters.chat.slack_installs import Installation, InstallRecords, Installs
from adapters.chat.slack_pacing import delete
from adapters.chat.slack_prompts import DEFAULT_PROMPTS, Prompt
from adapters.chat.slack_reply import SlackReply
from adapters.chat.slack_socket import Socket, insist
from adapters.chat.slack_workspace import Bot, Line, Setup, Workspace, origin_of
from adapters.chat.types import (
    Attachment,
    ChannelRules,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotAccepted,
    always,
    usual,
)
from tools.identity import ConversationKey, tenant_of

__all__ = ["HttpSetup", "OAuth", "SlackAdapter", "diagnose"]

log = structlog.get_logger(__name__)

_GONE = {"app_uninstalled", "tokens_revoked"}
_LOOK_S = 1.5  # the ack is due within 3 s
_AT_START = 50  # installations whose gap is filled when the bot starts


class SlackAdapter:
    """Implements `ChatAdapter`.

    With an `app_token` it speaks Socket Mode, else HTTP: then `door` is to be served. The bot's
    own `bot_token` serves its workspace; `installs` serve those that installed the app.
    """

    def __init__(
        self,
        *,
        bot_token: str = "",
        app_token: str = "",
        api_url: str = "https://slack.com/api/",
        name: str = "slack",
        ask_command: str = "ask",
        updates_per_minute: int = 45,
        edit_every_s: float = 1.2,
        settle_s: float = 5.0,
        backfill_again_s: float = 30.0,
        agent: bool = False,
        http: HttpSetup | None = None,
        installs: InstallRecords | None = None,
        rules: ChannelRules = usual,
        prompts: tuple[Prompt, ...] = DEFAULT_PROMPTS,
        feedback: bool = True,
    ) -> None:
        self._setup = Setup(
            name,
            api_url,
            ask_command,
            updates_per_minute,
            edit_every_s,
            settle_s,
            backfill_again_s,
            agent,
            rules,
            prompts,
            feedback,
        )
        self._bot_token = bot_token
        self._limits = Limits(PART_CHARS, edits_per_window=updates_per_minute, window_s=60.0)
        self._installs = Installs(installs, changed=self._look_again) if installs else None
        self._workspaces: dict[str, Workspace] = {}
        self._lines: dict[str, Line] = {}
        self._own: Bot | None = None
        self._app_api = SlackApi(name=name, tokens=token_of(bot_token), api_url=api_url)
        self._socket = Socket(self._app_api, app_token=app_token, name=name) if app_token else None
        self.door = (
            Door(http, self._take, self._installs, self._app_api, self._installed) if http else None
        )
        self._inbox: Inbox | None = None
        self._is_open = False

    @property
    def name(self) -> str:
        return self._setup.name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        if self._socket is not None and self._inbox is not None:
            return self._socket.connected
        return self._is_open

    @property
    def warnings(self) -> Mapping[str, str]:
        """One sentence for each workspace that can't be served, and for a wrong clock."""
        found = {
            f"{self.name} {team or 'own workspace'}": f"{each.api.refused}: install the app again"
            for team, each in self._workspaces.items()
            if each.api.refused
        }
        return {**found, **(self.door.warnings if self.door else {})}

    def paused(self, tenant: str) -> str:
        """Why nothing can be said in this tenant now, or nothing."""
        known = self._workspaces.get(self._team_of(tenant))
        return known.api.paused if known is not None else ""

    async def run(self, inbox: Inbox) -> None:
        """Feed `inbox` until cancelled; raises `AdapterError` when a token is refused."""
        try:
            async with self._opened(), asyncio.TaskGroup() as group:
                await self._listen(inbox, group)
        except ExceptionGroup as errors:
            raise _first(errors) from errors

    async def _listen(self, inbox: Inbox, group: asyncio.TaskGroup) -> None:
        self._inbox = inbox
        try:
            for line in await self._first_lines(inbox):
                group.create_task(line.backfill.run(), name="slack backfill")
            if self._socket is None:
                self._hello()
                await asyncio.get_running_loop().create_future()
            else:
                take, hello, alive = self._take_envelope, self._hello, self._alive
                await self._socket.listen(take, on_hello=hello, alive=alive)
        finally:
            self._inbox = None
            for line in self._lines.values():
                line.intake.close()
            self._lines.clear()

    async def answer_only(self) -> None:
        """Reply, fetch and remove until cancelled, without listening."""
        async with self._opened():
            await asyncio.get_running_loop().create_future()

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        """The Web API with a checked bot token."""
        self._app_api.open()
        try:
            if self._bot_token:
                await self._meet()
            async with asyncio.TaskGroup() as group:
                watch = self._installs.watch() if self._installs else asyncio.sleep(0)
                watching = group.create_task(watch, name="slack installs")
                self._is_open = True
                for each in self._workspaces.values():
                    each.api.open()
                yield
                watching.cancel()
        finally:
            self._is_open = False
            for api in (self._app_api, *(each.api for each in self._workspaces.values())):
                await api.aclose()
            self._workspaces.clear()

    async def _meet(self) -> None:
        """Learn who the bot is in its own workspace."""
        who = await insist(
            self._app_api,
            "auth.test",
            what="bot token",
            needs=("team_id", "user_id"),
            name=self.name,
            token=self._bot_token,
        )
        enterprise = str(who.get("enterprise_id") or "") if who.get("is_enterprise_install") else ""
        self._own = Bot(str(who["team_id"]), str(who["user_id"]), enterprise)

    async def _first_lines(self, inbox: Inbox) -> list[Line]:
        """The lines of what is known already, each with its marks as they were before."""
        teams = [self._own.team_id] if self._own is not None else []
        if self._installs is not None:
            try:
                teams += [each for each in await self._installs.owners() if each[:1] == "T"]
            except NotAccepted:
                log.warning("slack.installs_unread", adapter=self.name)
        found = [await self._line(each, each) for each in dict.fromkeys(teams[:_AT_START])]
        lines = [each for each in found if each is not None]
        for line in lines:
            await line.backfill.prepare()
        return lines

    def _hello(self) -> None:
        for line in self._lines.values():
            line.backfill.connected()

    def _alive(self) -> None:
        for line in self._lines.values():
            line.backfill.alive()

    def reply(self, message: Message, *, may_show: MayShow = always) -> SlackReply:
        return self._of(message.conversation.tenant).reply(message, may_show)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        known = self._of(conversation.tenant)
        for message_id in message_ids:
            await delete(known.api, known.pools, message_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        team, mark, where = attachment.locator.partition(FILE_OF)
        if not (mark and team.isalnum()):  # from before the bot served several
            return await self._workspace(self._own_team_id()).files.fetch(
                attachment, max_bytes=max_bytes
            )
        attachment = msgspec.structs.replace(attachment, locator=where)
        return await self._workspace(team).files.fetch(attachment, max_bytes=max_bytes)

    def _of(self, tenant: str) -> Workspace:
        return self._workspace(self._team_of(tenant))

    def _team_of(self, tenant: str) -> str:
        return tenant.removeprefix(tenant_of("slack", "")) if self._installs else ""

    def _own_team_id(self) -> str:
        return self._own.team_id if self._own is not None and self._installs else ""

    def _workspace(self, team: str) -> Workspace:
        """A team's way out; one that serves no installations has a single one for all."""
        if team not in self._workspaces:

            async def token() -> str:
                return await self._token(team)

            made = self._workspaces[team] = Workspace(self._setup, token, team_id=team)
            if self._is_open:  # else a call uses a connection of its own
                made.api.open()
        return self._workspaces[team]

    async def _token(self, team: str) -> str:
        if self._installs is None:
            return self._bot_token
        if (found := await self._installs.of(team)) is not None:
            return found.bot_token
        return self._bot_token if self._own is not None and team == self._own.team_id else ""

    async def _take_envelope(self, body: dict[str, Any]) -> tuple[int, Mapping[str, Any]]:
        """As `_take`, but what is for nobody here is acknowledged: sent again it helps nobody."""
        status, answer = await self._take(body)
        return (200 if status == 401 else status), answer

    async def _take(self, body: dict[str, Any]) -> tuple[int, Mapping[str, Any]]:
        """The status and the body of the acknowledgement; 401 for a workspace nobody knows."""
        inbox, origin = self._inbox, origin_of(body)
        if inbox is None:
            raise NotAccepted("the bot is not ready yet")
        event = body.get("event") or {}
        if event.get("type") in _GONE:
            await self._gone(origin.owner, event)
            return 200, {}
        if body.get("type") == "app_rate_limited":
            log.error("slack.app_rate_limited", remedy="Slack drops events of that workspace")
            return 200, {}
        if (line := await self._line(origin.owner, origin.team_id)) is None:
            log.warning("slack.unknown_workspace", adapter=self.name)
            return 401, {}
        return await line.intake.take(body)

    async def _line(self, owner: str, team: str) -> Line | None:
        """What takes in the events of a workspace, made when its first event comes."""
        if self._inbox is None or (bot := await self._bot_in(owner, team)) is None:
            return None
        known = self._lines.get(bot.team_id)
        if known is None or known.bot != bot:
            files_of = bot.team_id if self._installs is not None else ""
            known = self._of(tenant_of("slack", bot.team_id)).line(
                self._inbox, bot, files_of=files_of
            )
            self._lines[bot.team_id] = known
        return known

    async def _bot_in(self, owner: str, team: str) -> Bot | None:
        """Who the bot is there; raises `NotAccepted` while the store can't say."""
        own = self._own
        if own is not None and (owner in (own.team_id, own.enterprise_id) or self._is_lenient):
            return own if owner != own.enterprise_id or not team else _in_team(own, team)
        if self._installs is None or (found := await self._installs.of(owner)) is None:
            return None
        if not found.team_id and team and await self._installs.of(team) is None:
            await self._installs.save(team, Installation(of=found.enterprise_id))
        return Bot(found.team_id or team, found.bot_user_id, found.enterprise_id)

    @property
    def _is_lenient(self) -> bool:
        """One workspace, one socket: whatever comes is for it."""
        return self._installs is None and self._socket is not None

    async def _gone(self, owner: str, event: Mapping[str, Any]) -> None:
        """The app was uninstalled, or its bot's token revoked: stop there at once.

        The word may come late, when the app is installed again: then its token is good.
        """
        reason, bot = str(event.get("type")), await self._bot_in(owner, "")
        revoked = (event.get("tokens") or {}).get("bot") or ()
        if bot is None or (reason == "tokens_revoked" and bot.user_id not in revoked):
            return
        team = owner if self._installs is not None else ""
        token = await self._token(team)
        if await self._is_good(token):
            log.info("slack.told_late", adapter=self.name, reason=reason)
            return
        self._workspace(team).api.refuse(reason, token)
        if self._installs is not None and await self._installs.of(owner) is not None:
            await self._installs.drop(owner)
            await self._look_again()

    async def _is_good(self, token: str) -> bool:
        """Raises `NotAccepted` when Slack can't say: it tells us again."""
        bearer = f"Bearer {token}"
        try:
            await self._app_api.call("auth.test", timeout_s=_LOOK_S, authorization=bearer)
        except SlackCallError as error:
            if error.error in TOKEN_ERRORS:
                return False
            raise NotAccepted("Slack did not say whether the token is good") from error
        return True

    async def _installed(self, installation: Installation) -> None:
        self._lines.pop(installation.owner, None)
        await self._look_again()

    async def _look_again(self) -> None:
        """Installations changed: every workspace that has one, or had, looks for its token."""
        for team, each in list(self._workspaces.items()):
            if team != self._own_team_id():
                await each.api.look_again()


def _in_team(own: Bot, team: str) -> Bot:
    return Bot(team, own.user_id, own.enterprise_id)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error a caller knows how to read."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
