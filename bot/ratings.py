"""What people think of answers: by a button under one, or in words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import typer
from rich.console import Console

from adapters.chat.sentences import say
from adapters.stores.changes import Changes
from adapters.stores.feedback import MAX_CHARS, Feedback, RedisFeedback
from bot.admission import Asker
from bot.follow_ups import read_answered, read_last
from bot.health import Metrics
from bot.records import turn_id_of
from bot.settings import Settings
from bot.stores import open_stores
from bot.tables import report_console, report_table
from tools.identity import ConversationKey

Rating = Literal["up", "down"]


class Ratings:
    """Keeps ratings and texts for the operator; the answers are for who gave them alone.

    Raises `StoreUnavailable`.
    """

    def __init__(
        self,
        feedback: RedisFeedback,
        changes: Changes,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._feedback, self._changes, self._metrics = feedback, changes, metrics
        self._clock = clock

    async def rate(
        self, key: ConversationKey, event_id: str, rating: Rating, *, user_id: str, locale: str
    ) -> str:
        """A button under the answer to `event_id`."""
        asked = turn_id_of(key.tenant, event_id)
        answered = read_answered(await self._changes.answer(key, asked))
        turn_id = answered.turn_id if answered is not None else asked
        await self._keep(key, Feedback(rating, user_id, str(key), turn_id, self._clock()))
        if rating == "up":
            return say(locale, "Thank you, I told my operator that this answer was good.")
        return say(
            locale,
            "Thank you, I told my operator that this answer was not good. "
            "`/feedback TEXT` says what was wrong.",
        )

    async def bad_here(self, key: ConversationKey, user_id: str) -> int:
        """How many answers in a conversation one person calls bad."""
        return sum(
            each.kind == "down" and each.user_id == user_id and each.conversation == str(key)
            for each in await self._feedback.of(key.tenant)
        )

    async def tell(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """`/feedback TEXT`: of the newest answer here, where there is one."""
        text = argument.strip().encode(errors="replace").decode()
        if not text:
            return say(asker.locale, "Say what was good or wrong: `/feedback TEXT`.")
        if len(text) > MAX_CHARS:
            return say(
                asker.locale,
                "That is {length} characters; I pass on up to {most}.",
                length=len(text),
                most=MAX_CHARS,
            )
        last = read_last(await self._changes.last(key))
        turn_id = last.turn_id if last is not None else ""
        person = asker.principal.user_id
        said = Feedback("text", person, str(key), turn_id, self._clock(), text)
        await self._keep(key, said)
        return say(asker.locale, "Thank you, I passed that on to my operator.")

    async def _keep(self, key: ConversationKey, said: Feedback) -> None:
        await self._feedback.keep(key.tenant, said)
        self._metrics.rated(said.kind)


async def list_feedback(
    settings: Settings, tenant: str, *, as_json: bool = False, console: Console | None = None
) -> int:
    """Print what people of one workspace or guild said, oldest first."""
    async with open_stores(settings) as stores:
        found = await stores.feedback.of(tenant)
    rows = [
        {
            "at": datetime.fromtimestamp(each.at, UTC).isoformat(timespec="seconds"),
            "kind": each.kind,
            "who": each.user_id,
            "turn": each.turn_id,
            "text": each.text,
        }
        for each in found
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    console = console or report_console()
    table = report_table(f"{len(rows):,} of {tenant}", "at", "kind", "who", "turn", "text")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    return 0
