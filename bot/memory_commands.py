"""What people can do with the bot's memory: see it, take it along, add to it, have it forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.chat.sentences import mark, say
from adapters.stores.blobs import RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.facts import MAX_CHARS, MAX_FACTS, Fact, RedisFacts, UserFacts
from adapters.stores.feedback import RedisFeedback
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary
from adapters.stores.reminders import RedisReminders
from agents.summary import Summary
from agents.turns import Turn
from bot.admission import Asker
from bot.amounts import begun, day, entries, pictures, things
from tools.identity import ConversationKey, Place
from tools.labels import Integrity, Label, audience_of

CHOICES = ("show", "forget", "forget me", "export", "share on", "share off")
_PRIVATE_CHARS = 1900  # a slash command's answer is one message; Discord takes 2,000
_EXPORT_CHARS = 15_000
_FENCE_CHARS = 40
_EXPORTED = 2000  # newest entries
_OUTSIDE = mark(
    "Not in a channel that is shared with another organisation. Say it in a direct message to me."
)


class MemoryCommands:
    """`/memory` and `/remember`. Raises `StoreUnavailable`.

    What is kept of a person is shown to that person alone; what was said in a conversation, to
    those who may read it there.
    """

    def __init__(
        self,
        memory: RedisMemory,
        facts: RedisFacts,
        blobs: RedisBlobs,
        changes: Changes,
        feedback: RedisFeedback,
        reminders: RedisReminders,
        *,
        retention_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memory, self._facts, self._blobs, self._changes = memory, facts, blobs, changes
        self._feedback, self._reminders = feedback, reminders
        self._retention_days, self._clock = retention_days, clock

    async def run(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        verb, _, rest = argument.partition(" ")
        match verb.casefold():
            case "" | "show":
                return await self._show(key, asker)
            case "export":
                return await self._export(key, asker)
            case "forget":
                return await self._forget(key, rest.strip().casefold(), asker)
            case "remember":
                return await self.remember(key, rest, asker)
            case "share":
                return await self._share(key, rest.strip().casefold(), asker)
        return say(
            asker.locale,
            "I know what I keep: `memory show`, `memory export`, `memory forget`, "
            "`memory remember TEXT`, `memory share on` or `off`.",
        )

    async def remember(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """Keep one sentence about the asker, because they said so."""
        text = " ".join(argument.split()).encode(errors="replace").decode()
        person, locale = asker.principal, asker.locale
        if key.place == "external" or person.kind in ("external", "bot"):
            return say(locale, _OUTSIDE)
        if not text:
            return say(
                locale, "Say what I should remember about you: `/remember I work in Lisbon`."
            )
        if len(text) > MAX_CHARS:
            return say(
                locale,
                "That is {length} characters; I remember sentences of up to {most}.",
                length=len(text),
                most=MAX_CHARS,
            )
        fact = Fact(text, _own_label(asker), self._clock(), str(key))
        if not await self._facts.add(person.tenant, person.user_id, fact):
            return say(
                locale,
                "I already remember {most} things about you, which is all I keep. "
                "`/memory forget me` forgets them.",
                most=MAX_FACTS,
            )
        known = await self._facts.of(person.tenant, person.user_id)
        if known.shared:
            return say(
                locale,
                "I will remember that, and use it when I answer you, in channels too "
                "(`/memory share off` changes it).",
            )
        return say(
            locale,
            "I will remember that, and use it when I answer you, in direct messages only "
            "(`/memory share on` changes it).",
        )

    async def _share(self, key: ConversationKey, wanted: str, asker: Asker) -> str:
        if wanted not in ("on", "off"):
            return say(asker.locale, "Say `/memory share on` or `/memory share off`.")
        if key.place == "external" or asker.principal.kind in ("external", "bot"):
            return say(asker.locale, _OUTSIDE)
        person = asker.principal
        await self._facts.share(person.tenant, person.user_id, on=wanted == "on")
        if wanted == "on":
            return say(
                asker.locale,
                "What you told me about yourself may now shape my answers to you in channels.",
            )
        return say(asker.locale, "What you told me about yourself is used in direct messages only.")

    async def _forget(self, key: ConversationKey, what: str, asker: Asker) -> str:
        person, locale = asker.principal, asker.locale
        if what == "me":
            gone = await self._facts.drop(person.tenant, person.user_id)
            await self._feedback.forget(person.tenant, user_id=person.user_id)
            await self._reminders.forget(person.tenant, user_id=person.user_id)
            return say(
                locale,
                "Forgotten: {things} you told me about yourself.",
                things=things(gone, locale),
            )
        if what:
            return say(
                locale, "Say `/memory forget` for what was said here, or `/memory forget me`."
            )
        if person.kind in ("external", "bot") and key.place != "dm":
            return say(
                locale, "Only a member of this workspace can have a shared conversation forgotten."
            )
        await self._changes.forget(key)
        await self._feedback.forget(person.tenant, conversation=str(key))
        await self._reminders.forget(person.tenant, conversation=str(key))
        gone = await self._facts.drop(person.tenant, person.user_id, said_in=str(key))
        if gone:
            return say(
                locale,
                "Forgotten: what was said here, its pictures and its summary, and {things} you "
                "told me about yourself here.",
                things=things(gone, locale),
            )
        return say(locale, "Forgotten: what was said here, its pictures and its summary.")

    async def _show(self, key: ConversationKey, asker: Asker) -> str:
        turns = self._readable(key, asker, await self._memory.turns(key, limit=_EXPORTED))
        stored, kept = await self._memory.size(key), await self._blobs.count(key)
        locale = asker.locale
        if stored:
            since = min((turn.said_at for turn in turns), default=0.0)
            lines = [
                say(
                    locale,
                    "Of this conversation I keep {entries}{begun}, and {pictures}, for {days} days "
                    "after the last answer.",
                    entries=entries(stored, locale),
                    begun=begun(since, locale) if turns else "",
                    pictures=pictures(kept, locale),
                    days=self._retention_days,
                )
            ]
        else:
            lines = [say(locale, "Of this conversation I keep nothing.")]
        if summary := await self._summary(key, asker):
            until = day(summary.said_until)
            lines.append(say(locale, "My notes of what was said until {day}:", day=until))
            lines.append("> " + summary.text.replace("\n", "\n> "))
        lines.append(await self._about(key, asker))
        return _clipped("\n".join(lines), asker)

    async def _about(self, key: ConversationKey, asker: Asker) -> str:
        if not _sees_own(key, asker):
            return say(
                asker.locale, "What you told me about yourself I show in a direct message only."
            )
        known = await self._own(asker)
        if not known.facts:
            return say(asker.locale, "About you I keep nothing; `/remember TEXT` changes that.")
        told = mark("What you told me about yourself (used in direct messages only):")
        if known.shared:
            told = mark("What you told me about yourself (used in channels too):")
        return "\n".join(
            (say(asker.locale, told), *(f"- {fact.text}" for fact in known.facts.values()))
        )

    async def _export(self, key: ConversationKey, asker: Asker) -> str:
        """JSON in a code block; the oldest entries go first where it would be too long."""
        turns = self._readable(key, asker, await self._memory.turns(key, limit=_EXPORTED))
        summary, stored = await self._summary(key, asker), await self._memory.size(key)
        known = await self._own(asker) if _sees_own(key, asker) else UserFacts()
        value: dict[str, Any] = {
            "format": 1,
            "conversation": str(key),
            "exported_at": _time(self._clock()),
            "notes": summary.text if summary else None,
            "about_you": [
                {"said_at": _time(fact.said_at), "text": fact.text} for fact in known.facts.values()
            ],
            "left_out": 0,
            "entries": [],
        }
        limit = _PRIVATE_CHARS if asker.is_private else _EXPORT_CHARS
        room = limit - len(_json(value)) - _FENCE_CHARS
        entries: list[dict[str, Any]] = []
        for turn in reversed(turns):
            entry = _exported(turn)
            room -= len(_json(entry)) + 2
            if room < 0:
                break
            entries.insert(0, entry)
        if room < 0 and asker.is_private:
            return say(
                asker.locale,
                "That is more than fits in here; write `!memory export` as a message instead.",
            )
        value |= {"left_out": stored - len(entries), "entries": entries}
        return f"```json\n{_json(value)}\n```"

    async def _own(self, asker: Asker) -> UserFacts:
        return await self._facts.of(asker.principal.tenant, asker.principal.user_id)

    async def _summary(self, key: ConversationKey, asker: Asker) -> Summary | None:
        try:
            summary = decode_summary((await self._memory.uncovered(key)).recap.record)
        except UnknownFormat:
            return None
        audience = audience_of(Place.of(key), asker.principal)
        return summary if summary and summary.label.may_flow_to(audience) else None

    def _readable(
        self, key: ConversationKey, asker: Asker, turns: Sequence[Turn]
    ) -> tuple[Turn, ...]:
        audience = audience_of(Place.of(key), asker.principal)
        return tuple(turn for turn in turns if turn.label.may_flow_to(audience))


def about(known: UserFacts, place: Place, asker_audience: str) -> tuple[str, Label]:
    """What a person's facts add to the prompt of their turn at `place`, and its label.

    In a direct message what flows there; in a channel everything, if they let it be used there,
    which releases it to that channel's readers; among outsiders nothing.
    """
    if place.kind == "external" or (place.kind != "dm" and not known.shared):
        return "", Label()
    usable = [
        fact
        for fact in known.facts.values()
        if place.kind != "dm" or fact.label.may_flow_to(asker_audience)
    ]
    if not usable:
        return "", Label()
    integrity = max(fact.label.integrity for fact in usable)
    return "\n".join(f"- {fact.text}" for fact in usable), Label(
        integrity, frozenset((asker_audience,))
    )


def _own_label(asker: Asker) -> Label:
    """What people say about themselves is theirs alone, wherever they say it."""
    person = asker.principal
    scope = audience_of(Place(person.tenant, "dm", ""), person)
    return Label(Integrity.USER, frozenset((scope,)))


def _sees_own(key: ConversationKey, asker: Asker) -> bool:
    return asker.is_private or key.place == "dm"


def _exported(turn: Turn) -> dict[str, Any]:
    text = turn.text or " ".join(image.seen for image in turn.images)
    return {"role": turn.role, "said_at": _time(turn.said_at), "text": text}


def _clipped(text: str, asker: Asker) -> str:
    if not asker.is_private or len(text) <= _PRIVATE_CHARS:
        return text
    return text[: _PRIVATE_CHARS - 2] + " …"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
