"""What people change after they said it: stop, edit, delete, answer anew, forget."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection, Iterator
from enum import IntEnum

import msgspec

from adapters.stores import change_scripts as scripts
from adapters.stores.batching import Argument, Batcher, pairs
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S, one_line
from adapters.stores.sealing import PLAIN, Seal
from tools.identity import ConversationKey

_OVERTAKEN_S = 600  # a platform's last resend comes after five minutes


class Change(IntEnum):
    """How far the event had come that was to be changed."""

    TOO_LATE = 0  # answered, or being delivered
    RUNNING = 1
    WAITING = 2


class Heard(msgspec.Struct, frozen=True):
    """The conversation an event was accepted into, and who said it."""

    key: ConversationKey
    user_id: str


class Changes:
    """Every method raises `StoreUnavailable`; a running turn learns by `Halted`."""

    def __init__(
        self, batcher: Batcher, keys: Keys, *, retention_s: int = RETENTION_S, seal: Seal = PLAIN
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s = retention_s

    async def heard(self, tenant: str, event_id: str) -> Heard | None:
        """What is still known of an event that was accepted."""
        found = await self._batcher.command("GET", self._keys.seen(tenant, event_id))
        author, _, conversation = (found or b"").decode(errors="replace").rpartition("\n")
        try:
            return Heard(ConversationKey.parse(conversation), author)
        except ValueError:
            return None

    async def bar(self, tenant: str, event_id: str) -> None:
        """An event that was deleted before it came is not accepted, should it come yet."""
        name = self._keys.seen(tenant, event_id)
        await self._batcher.command("SET", name, "", "NX", "EX", _OVERTAKEN_S)

    async def marks(self, tenant: str) -> dict[str, float]:
        """The newest `sent_at` accepted in each channel; "" is the newest of all."""
        answer = await self._batcher.command("HGETALL", self._keys.marks(tenant))
        return dict(_read_marks(answer))

    async def stop(self, key: ConversationKey, event_id: str = "", *, author: str = "") -> bool:
        """Stop the turn that answers `event_id`, or whatever runs, if `author` asked for it (or
        nobody is named); False when none does."""
        words: list[Argument] = [one_line(event_id), author]
        return bool(await self._batcher.run(scripts.STOP, self._keys.of(key), words))

    async def stop_all(self, channel: ConversationKey, *, author: str) -> int:
        """Stop what runs for `author` in any conversation of the channel; returns how many."""
        due = await self._batcher.command("ZRANGE", self._keys.due(channel.tenant), 0, -1)
        keys = [key for each in due if (key := _parsed(each)) and key.channel == channel.channel]
        stopped = await asyncio.gather(*(self.stop(key, author=author) for key in keys))
        return sum(stopped)

    async def revise(self, key: ConversationKey, event_id: str, record: bytes) -> Change:
        """Replace a waiting event, or begin its running turn anew with `record`."""
        [record] = await self._seal.close(key.tenant, self._keys.record(key, "event"), [record])
        words: list[str | bytes | int] = [one_line(event_id), record]
        names = self._keys.of(key)
        return Change(await self._batcher.run(scripts.REVISE, names, words, replicated=True))

    async def retract(self, key: ConversationKey, event_id: str, *, turn_id: str) -> Change:
        """Take a waiting event out of the line, or end its running turn."""
        names = [*self._keys.of(key), self._keys.closed(key.tenant)]
        words: list[str | bytes | int] = [str(key), one_line(event_id), turn_id]
        return Change(await self._batcher.run(scripts.RETRACT, names, words, replicated=True))

    async def answer(self, key: ConversationKey, turn_id: str) -> bytes | None:
        """Where the reply of a closed turn stands, as `Ledger.close` was told."""
        found = await self._batcher.command("HGET", self._keys.answers(key), turn_id)
        return await self._opened(key, "answers", found)

    async def drop_answer(self, key: ConversationKey, turn_ids: Collection[str]) -> None:
        await self._batcher.command("HDEL", self._keys.answers(key), *turn_ids)

    async def last(self, key: ConversationKey) -> bytes | None:
        """What it takes to answer the conversation's last question anew."""
        found = await self._batcher.command("GET", self._keys.last(key))
        return await self._opened(key, "last", found)

    async def reset(self, key: ConversationKey) -> None:
        """A new conversation begins: nothing is remembered; running work goes on."""
        names = [*self._keys.of(key), self._keys.blobs(key)]
        await asyncio.gather(
            self._batcher.run(scripts.RESET, names, self._words(key)),
            self._batcher.command("DEL", self._keys.approvals(key)),
        )

    async def forget(self, key: ConversationKey) -> None:
        """Everything said here is gone and stays gone, also what runs or waits."""
        tenant = key.tenant
        names = [*self._keys.of(key), self._keys.closed(tenant), self._keys.dead(tenant)]
        await asyncio.gather(
            self._batcher.run(scripts.FORGET, [*names, self._keys.blobs(key)], self._words(key)),
            # The local page lists its conversations by what was said first in them.
            self._batcher.command("HDEL", self._keys.threads(tenant), key.channel),
            self._batcher.command("DEL", self._keys.approvals(key)),
        )

    def _words(self, key: ConversationKey) -> list[str | bytes | int]:
        return [str(key), self._retention_s, self._keys.blob_start(key)]

    async def _opened(self, key: ConversationKey, kind: str, record: bytes | None) -> bytes | None:
        if record is None:
            return None
        [plain] = await self._seal.open(key.tenant, self._keys.record(key, kind), [record])
        return plain


def _read_marks(answer: object) -> Iterator[tuple[str, float]]:
    for name, value in pairs(answer):
        with contextlib.suppress(ValueError):  # a bad one is as good as none (B7)
            if math.isfinite(at := float(value)):
                yield name.decode(), at


def _parsed(conversation: bytes) -> ConversationKey | None:
    try:
        return ConversationKey.parse(conversation.decode())
    except ValueError:
        return None
