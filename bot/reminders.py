"""Reminders: kept in Redis, put into the ledger when they are due, said like any reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import msgspec
import structlog

from adapters.chat.sentences import mark, say
from adapters.stores.errors import READ_ERRORS, StoreUnavailable
from adapters.stores.ledger import Acceptance, Ledger
from adapters.stores.reminders import MOST_OF_ONE, RedisReminders, Waiting
from bot.admission import Asker
from bot.line import Line
from bot.records import Event, Says, decode_event, encode
from bot.running import RunningTurn
from tools.contract import Remind, ToolError
from tools.identity import ConversationKey
from tools.labels import join_labels

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 2.0
_SHOWN_CHARS = 120
REMINDER = mark("⏰ Reminder: {text}")
NONE_WAIT = mark("Nothing waits for you here. Ask me to remind you of something.")


class Reminders:
    """Raises `StoreUnavailable`, except for `run`."""

    def __init__(
        self,
        store: RedisReminders,
        ledger: Ledger,
        line: Line,
        *,
        zone_of: Callable[[str], tzinfo] = lambda channel: UTC,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._ledger, self._line = store, ledger, line
        self._zone_of, self._clock = zone_of, clock

    def setter(self, turn: RunningTurn, call_key: str) -> Remind:
        """What a tool of this turn may have said later; a call that is repeated sets one."""

        async def remind(text: str, at: datetime) -> None:
            event = _said_later(turn, call_key, text)
            kept = await self._store.keep(
                turn.claim.lease.key,
                event.message.event_id,
                user_id=turn.last.principal.user_id,
                record=encode(event),
                due_at=at.timestamp(),
            )
            if not kept:
                raise ToolError(
                    f"{MOST_OF_ONE} reminders wait already; `!reminders` shows and cancels them"
                )

        return remind

    async def told(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """`reminders` lists what waits for who asks; `reminders cancel 2` drops the second."""
        tenant, locale = key.tenant, asker.locale
        mine = await self._mine(key, asker)
        word, _, number = argument.strip().partition(" ")
        if word.casefold() == "cancel":
            if not number.strip().isdigit() or not 0 < int(number) <= len(mine):
                return say(
                    locale, "Say which: `!reminders cancel 1`, as `!reminders` numbers them."
                )
            await self._store.drop(tenant, mine[int(number) - 1].name)
            return say(locale, "Cancelled.")
        if not mine:
            return say(locale, NONE_WAIT)
        lines = [f"{n}. {self._line_of(each, key)}" for n, each in enumerate(mine, start=1)]
        return "\n".join((*lines, say(locale, "`!reminders cancel 1` cancels the first.")))

    async def drop(self, tenant: str, turn_id: str) -> None:
        """The question is gone, and with it what it asked to be reminded of."""
        await self._store.forget(tenant, event=f"reminder!{turn_id}.")

    async def run(self) -> None:
        """Look for what is due until cancelled; a store that is away is tried again."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for adapter in self._line.adapters:
                try:
                    for tenant in await self._ledger.tenants(adapter):
                        await self._say_due(tenant)
                except StoreUnavailable as error:
                    log.warning("reminders.store_down", error=str(error))

    async def _mine(self, key: ConversationKey, asker: Asker) -> list[Waiting]:
        """Where others see the answer, only what will be said there."""
        found = await self._store.of(key.tenant, asker.principal.user_id)
        if asker.is_private or key.place == "dm":
            return found
        return [each for each in found if each.name.split("\n")[1] == str(key)]

    async def _say_due(self, tenant: str) -> None:
        for each in await self._store.due(tenant, self._clock()):
            event = _read(each.record)
            if event is not None:
                if not self._line.serves(event.message.adapter):
                    continue
                now = self._clock()
                message = msgspec.structs.replace(event.message, sent_at=now)
                event = msgspec.structs.replace(event, message=message, accepted_at=now)
                if await self._line.put(event, is_heard=False) is Acceptance.FULL:
                    continue
                log.info("reminder.due", late_s=round(now - each.due_at, 1))
            await self._store.drop(tenant, each.name)

    def _line_of(self, waiting: Waiting, key: ConversationKey) -> str:
        at = datetime.fromtimestamp(waiting.due_at, self._zone_of(key.channel))
        event = _read(waiting.record)
        text = event.says.text if event is not None and event.says is not None else "…"
        short = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
        return f"{at:%Y-%m-%d %H:%M} ({at.tzinfo}): {' '.join(short.split())}"


def _said_later(turn: RunningTurn, call_key: str, text: str) -> Event:
    asked = turn.last
    message = msgspec.structs.replace(
        asked.message, event_id=f"reminder!{call_key}", text="", attachments=(), quotes=()
    )
    return Event(
        message,
        asked.principal,
        asked.place,
        join_labels((asked.label, turn.label)),
        asked.accepted_at,
        says=Says("reminder", text),
    )


def _read(record: bytes) -> Event | None:
    try:
        return decode_event(record)
    except READ_ERRORS as error:
        log.error("store.bad_record", error=type(error).__name__, size=len(record))
        return None
