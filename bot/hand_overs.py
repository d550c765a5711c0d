"""Handing a conversation to a person: the team hears of it, and the bot is quiet until they say so.

What the team reads is an event of its own in their channel, so a crash says it neither never nor
twice; its button, or `!resolved` in the conversation, ends the silence.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from adapters.chat.links import link_to
from adapters.chat.sentences import mark, say
from adapters.chat.types import Author, Message
from adapters.stores.changes import Changes
from adapters.stores.errors import READ_ERRORS
from adapters.stores.hand_overs import RedisHandOvers
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from agents.summary import flowing
from agents.turns import Turn
from bot.admission import Asker
from bot.follow_ups import read_last
from bot.line import Line
from bot.records import Event, Says
from bot.running import RunningTurn
from tools.contract import HandOver, ToolError
from tools.identity import ConversationKey, Place, Principal
from tools.labels import Label, audience_of

log = structlog.get_logger(__name__)

TAKEN_OVER = "with"  # beside a conversation's pins: the event by which a person was called
_TURNS_TOLD, _TURN_CHARS = 6, 300
NOBODY = mark("There is no team here that I could call.")
CALLED = mark("I have called a person of the team. They will answer here; I am quiet until then.")
CALLED_ALREADY = mark("A person was called already. I am quiet until they say it is resolved.")
RESOLVED = mark("This is resolved, so I answer here again.")
NOT_CALLED = mark("Nobody was called here.")
RESOLVED_ALREADY = mark("That was resolved already.")
_HEADING = mark("🙋 **A person is needed:** {where}")


class HandedOver(msgspec.Struct, frozen=True):
    """Who was called, by what, and where the bot is to say that it is over."""

    conversation: ConversationKey
    message: Message
    at: float  # epoch seconds
    format: int = 1


_decoder = msgspec.json.Decoder(HandedOver)


class HandOvers:
    """Raises `StoreUnavailable`. `channels` names the team's channel of a tenant or platform."""

    def __init__(
        self,
        store: RedisHandOvers,
        ledger: Ledger,
        changes: Changes,
        memory: RedisMemory,
        line: Line,
        channels: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._ledger, self._changes, self._memory = store, ledger, changes, memory
        self._line, self._channels, self._clock = line, channels, clock

    def has_team(self, tenant: str) -> bool:
        return self._team_of(tenant) is not None

    def caller(self, turn: RunningTurn) -> HandOver:
        """What a tool of this turn may call a person with; a second call calls nobody else."""

        async def hand_over(reason: str, summary: str) -> None:
            key, told = turn.claim.lease.key, (f"Reason: {reason}", summary)
            done = await self._call(key, turn.last.message, turn.turn_id, told, turn.locale)
            if not done:
                raise ToolError("there is no team to call; tell them so")

        return hand_over

    async def by_command(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """`human`: the person calls somebody, and no model has to agree."""
        if TAKEN_OVER in await self._ledger.pins(key):
            return say(asker.locale, CALLED_ALREADY)
        last = read_last(await self._changes.last(key))
        message = last.events[-1].message if last else _opening(key, asker, self._clock())
        audience = audience_of(Place.of(key), asker.principal)
        recent = _told(flowing(tuple(await self._memory.turns(key)), audience)[-_TURNS_TOLD:])
        told = (*((argument,) if argument else ()), *recent)
        call_id = hashlib.blake2b(f"{key}{self._clock()}".encode(), digest_size=6).hexdigest()
        done = await self._call(key, message, call_id, told, asker.locale)
        return say(asker.locale, CALLED if done else NOBODY)

    async def after_bad_answers(self, key: ConversationKey, asker: Asker) -> str:
        """Call somebody for who got no good answer; nothing where nobody can be, or is already."""
        if not self.has_team(key.tenant) or TAKEN_OVER in await self._ledger.pins(key):
            return ""
        return await self.by_command(key, "Reason: they called several answers bad", asker)

    async def resolved_here(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """`resolved`, said in the conversation itself."""
        pins = await self._ledger.pins(key)
        if (called := pins.get(TAKEN_OVER)) is None:
            return say(asker.locale, NOT_CALLED)
        await self._ledger.pin(key, TAKEN_OVER, None)
        if (team := self._team_of(key.tenant)) is not None:
            await self._store.drop(team.tenant, called)
        return say(asker.locale, RESOLVED)

    async def resolve(self, tenant: str, event_id: str, locale: str) -> str:
        """The button under what the team read; returns a sentence for who came too late."""
        record = await self._store.read(tenant, event_id)
        handed = _read(record) if record is not None else None
        if handed is None:
            return say(locale, RESOLVED_ALREADY)
        key = handed.conversation
        if (await self._ledger.pins(key)).get(TAKEN_OVER) == event_id:
            await self._ledger.pin(key, TAKEN_OVER, None)
            text = say(handed.message.locale, RESOLVED)
            await self._say(handed.message, f"{event_id}!resolved", Says("notice", text))
        await self._store.drop(tenant, event_id)
        return ""

    async def _call(
        self,
        key: ConversationKey,
        message: Message,
        call_id: str,
        told: Sequence[str],
        locale: str,
    ) -> bool:
        """Record, tell the team, then be quiet: whatever is done twice has its effect once."""
        team = self._team_of(key.tenant)
        adapter = key.tenant.partition(":")[0]
        if team is None or not self._line.serves(adapter):
            return False
        event_id = f"handover!{call_id}"
        handed = HandedOver(key, _without_words(message), self._clock())
        await self._store.keep(team.tenant, event_id, msgspec.json.encode(handed))
        asked_by = f"`{message.author.user_id}`" if message.author.user_id else ""
        where = link_to(message) or str(key.channel)
        lines = [say(locale, _HEADING, where=where), *filter(None, (asked_by,))]
        lines += [f"> {line}" for text in told for line in text.splitlines() if line.strip()]
        post = Message(
            event_id, adapter, team, Author("", "bot"), "", self._clock(), "", "mention",
            locale=locale,
        )  # fmt: skip
        await self._say(post, event_id, Says("hand_over", "\n".join(lines)))
        await self._ledger.pin(key, TAKEN_OVER, event_id)
        log.info("hand_over.called", event_id=event_id)
        return True

    async def _say(self, message: Message, event_id: str, says: Says) -> None:
        now, key = self._clock(), message.conversation
        said = msgspec.structs.replace(_without_words(message), event_id=event_id, sent_at=now)
        us = Principal(key.tenant, "", "bot")
        event = Event(said, us, Place.of(key), Label(), now, says=says)
        await self._line.put(event, is_heard=False)

    def _team_of(self, tenant: str) -> ConversationKey | None:
        """Where the team reads; the direct messages of Discord belong to no guild."""
        platform = tenant.partition(":")[0]
        for named in (tenant, platform):
            if (channel := self._channels.get(named)) is not None:
                return ConversationKey(tenant, "private", channel)
        if tenant == "discord:dm":
            for named, channel in self._channels.items():
                if named.startswith("discord:"):
                    return ConversationKey(named, "private", channel)
        return None


def _told(turns: Sequence[Turn]) -> list[str]:
    """The newest turns in short, for who has to read them."""
    told = []
    for turn in turns:
        text = " ".join(turn.text.split())
        if text and turn.role in ("user", "assistant"):
            who = "They" if turn.role == "user" else "I"
            told.append(f"{who}: {text[:_TURN_CHARS]}{'…' * (len(text) > _TURN_CHARS)}")
    return told


def _opening(key: ConversationKey, asker: Asker, now: float) -> Message:
    """A message of our own at a place where nothing was asked yet."""
    adapter, person = key.tenant.partition(":")[0], asker.principal
    author = Author(person.user_id, person.kind)
    return Message("", adapter, key, author, "", now, "", "mention", locale=asker.locale)


def _without_words(message: Message) -> Message:
    """Where it was said and by whom; what was said is forgotten with the conversation."""
    return msgspec.structs.replace(message, text="", attachments=(), quotes=())


def _read(record: bytes) -> HandedOver | None:
    try:
        return _decoder.decode(record)
    except READ_ERRORS as error:
        log.error("store.bad_record", error=type(error).__name__, size=len(record))
        return None
