"""One workspace: its token's calls, its limits, its replies, and what reads its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.chat.slack_api import SlackApi, Tokens
from adapters.chat.slack_backfill import Backfill
from adapters.chat.slack_directory import Directory
from adapters.chat.slack_events import EventReader
from adapters.chat.slack_files import SlackFiles
from adapters.chat.slack_heard import Heard
from adapters.chat.slack_home import Home, home_view
from adapters.chat.slack_intake import Intake
from adapters.chat.slack_pacing import Pools
from adapters.chat.slack_prompts import DEFAULT_PROMPTS, Prompt, Prompts
from adapters.chat.slack_reply import SlackReply
from adapters.chat.slack_session import Sessions
from adapters.chat.slack_shortcuts import Shortcuts
from adapters.chat.slack_stream import LIVES_S, Streams
from adapters.chat.types import ChannelRules, Inbox, MayShow, Message, usual

_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """How every workspace of the app is served."""

    name: str
    api_url: str
    ask_command: str
    updates_per_minute: int
    edit_every_s: float
    settle_s: float
    backfill_again_s: float
    agent: bool
    rules: ChannelRules = usual
    prompts: tuple[Prompt, ...] = DEFAULT_PROMPTS
    feedback: bool = True
    streaming: bool = True  # natively, where Slack lets the app
    stream_lives_s: float = LIVES_S


@dataclass(frozen=True, slots=True)
class Bot:
    """Who the bot is in a workspace."""

    team_id: str
    user_id: str
    enterprise_id: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What takes a workspace's events in."""

    bot: Bot
    intake: Intake
    backfill: Backfill


class Workspace:
    """The way out to one workspace; Slack's limits count for each by itself."""

    def __init__(self, setup: Setup, tokens: Tokens, *, team_id: str = "") -> None:
        self._setup = setup
        updates = setup.updates_per_minute
        self.api = SlackApi(name=setup.name, tokens=tokens, api_url=setup.api_url, team_id=team_id)
        self.files = SlackFiles(self.api, api_url=setup.api_url)
        self.pools = Pools(updates=updates, window_s=_WINDOW_S, edit_every_s=setup.edit_every_s)
        self._sessions = Sessions(
            self.api, enabled=setup.agent, updates=updates, window_s=_WINDOW_S
        )
        self._streams = Streams(
            self.api,
            self.pools,
            enabled=setup.agent and setup.streaming,
            lives_s=setup.stream_lives_s,
        )

    def reply(self, message: Message, may_show: MayShow) -> SlackReply:
        return SlackReply(
            self.api,
            self.pools,
            self._sessions,
            self._streams,
            message,
            settle_s=self._setup.settle_s,
            may_show=may_show,
            rating=self._setup.feedback,
        )

    def line(self, inbox: Inbox, bot: Bot, *, files_of: str = "") -> Line:
        """`files_of` marks attachments with the workspace they are fetched from."""
        setup = self._setup
        directory = Directory(
            self.api, team_id=bot.team_id, bot_user_id=bot.user_id, enterprise_id=bot.enterprise_id
        )
        reader = EventReader(
            directory,
            adapter=setup.name,
            team_id=bot.team_id,
            bot_user_id=bot.user_id,
            files_of=files_of,
            rules=setup.rules,
        )
        backfill = Backfill(self.api, self.pools, reader, inbox, again_s=setup.backfill_again_s)
        heard = Heard(inbox)
        intake = Intake(
            inbox,
            reader,
            self.api,
            ask=setup.ask_command,
            heard=heard,
            shortcuts=Shortcuts(self.api, self.pools, reader, heard),
            opened=(
                Home(self.api, home_view(ask_command=setup.ask_command)).opened,
                Prompts(self.api, setup.prompts, agent=setup.agent).opened,
            ),
            refused=backfill.refused,
        )
        return Line(bot, intake, backfill)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a payload comes from: whose installation it is for, and in which workspace."""

    owner: str
    team_id: str


def origin_of(body: Mapping[str, Any]) -> Origin:
    """Events tell the installation in `authorizations`, all else by `is_enterprise_install`.

    In a channel that companies share, the outer team may be another's.
    """
    team = _id(body, "team") or str((body.get("user") or {}).get("team_id") or "")
    told = next((each for each in body.get("authorizations") or () if isinstance(each, dict)), None)
    if told is not None:
        own = str(told.get("team_id") or body.get("context_team_id") or team)
        if _is_true(told.get("is_enterprise_install")):
            return Origin(str(told.get("enterprise_id") or ""), own)
        return Origin(own, own)
    if _is_true(body.get("is_enterprise_install")):
        return Origin(_id(body, "enterprise"), team)
    return Origin(team, team)


def _id(body: Mapping[str, Any], what: str) -> str:
    """`team_id` of a command, or `team.id` of an interaction."""
    found = body.get(what)
    nested = found.get("id") if isinstance(found, dict) else ""
    return str(body.get(f"{what}_id") or nested or "")


def _is_true(value: object) -> bool:
    return value is True or value == "true"
