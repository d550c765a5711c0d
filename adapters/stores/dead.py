"""The dead letters: turns that were given up, kept until an operator replays or drops them."""

from __future__ import annotations

from typing import Literal

import msgspec
import structlog

from adapters.stores.batching import Batcher, pairs
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.sealing import PLAIN, Seal
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)


class DeadLetter(msgspec.Struct, frozen=True):
    """A turn that ended its worker too often, or could not be read; `events` are its records."""

    events: tuple[bytes, ...]
    event_ids: tuple[str, ...]
    reason: str
    deaths: int
    at: float  # epoch seconds
    format: Literal[1] = 1


class DeadTurn(msgspec.Struct, frozen=True):
    """A dead letter with its place."""

    key: ConversationKey
    turn_id: str
    letter: DeadLetter


_decoder = msgspec.json.Decoder(DeadLetter)


class DeadLetters:
    """One hash a tenant; `Ledger.close` puts turns in. Raises `StoreUnavailable`."""

    def __init__(self, batcher: Batcher, keys: Keys, *, seal: Seal = PLAIN) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal

    async def of(self, tenant: str) -> list[DeadTurn]:
        """A tenant's dead turns, oldest first."""
        return await self.under(self._keys.dead(tenant))

    async def under(self, name: str | bytes) -> list[DeadTurn]:
        """The dead turns of one such hash."""
        answer = await self._batcher.command("HGETALL", name)
        found = [turn for row in pairs(answer) if (turn := await self._read(*row))]
        return sorted(found, key=lambda turn: turn.letter.at)

    async def drop(self, turn: DeadTurn) -> bool:
        """Take it out; False when it was gone already."""
        field = f"{turn.key}\n{turn.turn_id}"
        return bool(await self._batcher.command("HDEL", self._keys.dead(turn.key.tenant), field))

    async def _read(self, field: bytes, record: bytes) -> DeadTurn | None:
        try:
            conversation, _, turn_id = field.decode().rpartition("\n")
            key = ConversationKey.parse(conversation)
            name = self._keys.record(key, "dead")
            [plain] = await self._seal.open(key.tenant, name, [record])
            return DeadTurn(key, turn_id, _decoder.decode(plain))
        except READ_ERRORS as error:
            log.warning("store.bad_record", error=type(error).__name__, size=len(record))
            return None
