"""What a bot did on a twin: every call to the platform, every text that was ever visible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bot.testing.discord import DiscordTwin
from bot.testing.mattermost import MattermostTwin
from bot.testing.slack import SlackTwin


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the bot; Slack's methods, or Discord's method and path."""

    at_s: float  # monotonic
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """One text that people could see, from `at_s` until the next of the same message."""

    at_s: float
    message_id: str
    text: str


class Recorder:
    """Looks at the twin each time it is asked; keeps nothing of its own."""

    def __init__(
        self, calls: Callable[[], Iterable[Call]], shown: Callable[[], Iterable[Shown]]
    ) -> None:
        self._calls, self._shown = calls, shown

    @property
    def calls(self) -> list[Call]:
        """Every request so far, oldest first."""
        return list(self._calls())

    @property
    def shown(self) -> list[Shown]:
        """Every text that the bot's messages have, or had before, oldest first."""
        return sorted(self._shown(), key=lambda each: each.at_s)

    def count(self, name: str) -> int:
        """How many calls have a name that begins with this."""
        return sum(each.name.startswith(name) for each in self._calls())

    def save(self, file: Path) -> None:
        """Write both as JSON lines, in the order of time."""
        rows: list[Call | Shown] = sorted([*self.calls, *self.shown], key=lambda row: row.at_s)
        lines = (json.dumps(asdict(row), ensure_ascii=False, default=str) for row in rows)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def record_slack(slack: SlackTwin) -> Recorder:
    def shown() -> Iterable[Shown]:
        for each in slack.world.posted.values():
            if each.user == slack.world.bot_user_id:
                yield from (Shown(edit.at, each.ts, edit.text) for edit in each.edits)

    return Recorder(lambda: [Call(*called) for called in slack.web.calls], shown)


def record_discord(discord: DiscordTwin) -> Recorder:
    def calls() -> Iterable[Call]:
        return [Call(at_s, f"{verb} {path}") for at_s, verb, path in discord.gate.calls]

    def shown() -> Iterable[Shown]:
        for each in discord.world.messages.values():
            if each.author is discord.bot:
                yield from (Shown(at_s, str(each.id), text) for at_s, text in each.texts)

    return Recorder(calls, shown)


def record_mattermost(server: MattermostTwin) -> Recorder:
    return Recorder(
        lambda: [Call(*called) for called in server.rest.log],
        lambda: [Shown(*shown) for shown in server.world.shown],
    )
