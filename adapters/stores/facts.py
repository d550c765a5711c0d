"""What people asked the bot to remember about them: per person and tenant, never of others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import structlog

from adapters.stores.batching import Batcher, pairs
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from adapters.stores.memory_scripts import REMEMBER
from adapters.stores.sealing import PLAIN, Seal
from tools.labels import Label

log = structlog.get_logger(__name__)

MAX_FACTS = 40
MAX_CHARS = 300
_FORMAT = b"1"
_SHARED = b"shared"


class Fact(msgspec.Struct, frozen=True):
    """One sentence in the person's own words; `conversation` is where they said it."""

    text: str
    label: Label
    said_at: float  # epoch seconds
    conversation: str


class UserFacts(msgspec.Struct, frozen=True):
    """All that is kept of one person; `shared`: they let it be used in channels too."""

    facts: dict[str, Fact] = {}  # by number
    shared: bool = False


_decoder = msgspec.json.Decoder(Fact)


class RedisFacts:
    """One hash a person. Raises `StoreUnavailable`."""

    def __init__(
        self, batcher: Batcher, keys: Keys, *, seal: Seal = PLAIN, retention_s: int = RETENTION_S
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s = retention_s

    async def of(self, tenant: str, user_id: str) -> UserFacts:
        """What is kept; reading it keeps it for the retention time again."""
        name = self._keys.facts(tenant, user_id)
        answer, _ = await asyncio.gather(
            self._batcher.command("HGETALL", name),
            self._batcher.command("EXPIRE", name, self._retention_s),
        )
        return await self.read(tenant, user_id, dict(pairs(answer)))

    async def read(self, tenant: str, user_id: str, fields: Mapping[bytes, bytes]) -> UserFacts:
        """The same from the stored fields, which a claim brings."""
        numbers = sorted((field for field in fields if field.isdigit()), key=int)
        name = self._keys.facts(tenant, user_id)
        records = await self._seal.open(tenant, name, [fields[each] for each in numbers])
        found = {
            number.decode(): fact
            for number, record in zip(numbers, records, strict=True)
            if (fact := _read(record)) is not None
        }
        return UserFacts(found, fields.get(_SHARED) == b"1")

    async def add(self, tenant: str, user_id: str, fact: Fact) -> bool:
        """Keep one more; False when there are `MAX_FACTS` already."""
        name = self._keys.facts(tenant, user_id)
        [record] = await self._seal.close(tenant, name, [_FORMAT + msgspec.json.encode(fact)])
        words: list[str | bytes | int] = [MAX_FACTS, record, self._retention_s]
        return bool(await self._batcher.run(REMEMBER, [name], words))

    async def share(self, tenant: str, user_id: str, *, on: bool) -> None:
        name = self._keys.facts(tenant, user_id)
        await asyncio.gather(
            self._batcher.command("HSET", name, _SHARED, int(on)),
            self._batcher.command("EXPIRE", name, self._retention_s),
        )

    async def drop(self, tenant: str, user_id: str, *, said_in: str | None = None) -> int:
        """Forget all of a person's facts, or those said in one conversation; how many."""
        name = self._keys.facts(tenant, user_id)
        known = (await self.of(tenant, user_id)).facts
        if said_in is None:
            await self._batcher.command("DEL", name)
            return len(known)
        gone = [number for number, fact in known.items() if fact.conversation == said_in]
        if gone:
            await self._batcher.command("HDEL", name, *gone)
        return len(gone)


def _read(record: bytes) -> Fact | None:
    if record[:1] != _FORMAT:
        log.warning("store.unknown_record", format=record[:1].hex())
        return None
    try:
        return _decoder.decode(record[1:])
    except READ_ERRORS as error:
        log.warning("store.bad_record", error=type(error).__name__, size=len(record))
        return None
