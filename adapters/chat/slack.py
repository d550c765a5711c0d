"""Slack, by Socket Mode or HTTP, in one workspace or many. Events are stored before the ack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from adapters.chat.slack_blocks import PART_CHARS
from adapters.chat.slack_doctor import diagnose
from adapters.chat.slack_door import Door, HttpSetup, OAuth
from adapters.chat.slack_events import FILE_OF
from adapters.chat.slack_installs import Installation, InstallRecords
from adapters.chat.slack_pacing import delete
from adapters.chat.slack_prompts import DEFAULT_PROMPTS, Prompt
from adapters.chat.slack_reply import SlackReply
from adapters.chat.slack_socket import Socket
from adapters.chat.slack_stream import LIVES_S
from adapters.chat.slack_teams import Teams
from adapters.chat.slack_workspace import Line, Setup, origin_of
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
        streaming: bool = True,
        stream_lives_s: float = LIVES_S,
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
            streaming,
            stream_lives_s,
        )
        self._limits = Limits(PART_CHARS, edits_per_window=updates_per_minute, window_s=60.0)
        self._teams = Teams(
            self._setup, bot_token=bot_token, installs=installs, is_lenient=bool(app_token)
        )
        api, known = self._teams.app_api, self._teams.installs
        self._socket = Socket(api, app_token=app_token, name=name) if app_token else None
        self.door = Door(http, self._take, known, api, self._installed) if http else None
        self._lines: dict[str, Line] = {}
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
        return {**self._teams.warnings, **(self.door.warnings if self.door else {})}

    def paused(self, tenant: str) -> str:
        """Why nothing can be said in this tenant now, or nothing."""
        return self._teams.paused(tenant)

    def has_left(self, tenant: str) -> bool:
        """Whether the platform told us that the app was removed there."""
        return self._teams.has_left(tenant)

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
        """The Web API with a checked bot token, and the installations kept fresh."""
        installs = self._teams.installs
        async with self._teams.opened(), asyncio.TaskGroup() as group:
            watch = installs.watch() if installs else asyncio.sleep(0)
            watching = group.create_task(watch, name="slack installs")
            self._is_open = True
            try:
                yield
            finally:
                self._is_open = False
                watching.cancel()

    async def _first_lines(self, inbox: Inbox) -> list[Line]:
        """The lines of what is known already, each with its marks as they were before."""
        teams = [self._teams.own.team_id] if self._teams.own is not None else []
        if self._teams.installs is not None:
            try:
                teams += [each for each in await self._teams.installs.owners() if each[:1] == "T"]
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
        return self._teams.of(message.conversation.tenant).reply(message, may_show)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        known = self._teams.of(conversation.tenant)
        for message_id in message_ids:
            await delete(known.api, known.pools, message_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        team, mark, where = attachment.locator.partition(FILE_OF)
        if not (mark and team.isalnum()):  # from before the bot served several
            return await self._teams.workspace(self._teams.own_team_id).files.fetch(
                attachment, max_bytes=max_bytes
            )
        attachment = msgspec.structs.replace(attachment, locator=where)
        return await self._teams.workspace(team).files.fetch(attachment, max_bytes=max_bytes)

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
            await self._teams.gone(origin.owner, event)
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
        if self._inbox is None or (bot := await self._teams.bot_in(owner, team)) is None:
            return None
        known = self._lines.get(bot.team_id)
        if known is None or known.bot != bot:
            files_of = bot.team_id if self._teams.installs is not None else ""
            known = self._teams.of(tenant_of("slack", bot.team_id)).line(
                self._inbox, bot, files_of=files_of
            )
            self._lines[bot.team_id] = known
        return known

    async def _installed(self, installation: Installation) -> None:
        self._lines.pop(installation.owner, None)
        await self._teams.look_again()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error a caller knows how to read."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
