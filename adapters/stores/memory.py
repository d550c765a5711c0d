"""A conversation's memory: an append-only list of turns, written by the ledger's script."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import structlog

from adapters.stores.batching import Batcher
from adapters.stores.change_scripts import ERASE
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from agents.turns import Turn
from tools.contract import Found
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_SEARCHED = 2000  # newest entries a search reads
_decoder = msgspec.json.Decoder(Turn)
_encoder = msgspec.json.Encoder()
_FORMAT = b"1"  # stored as a one-byte prefix; other formats are left alone and told


def encode_turn(turn: Turn) -> bytes:
    """A stored record: the format's version, then JSON."""
    return _FORMAT + _encoder.encode(turn)


def decode_turns(records: Sequence[bytes]) -> tuple[Turn, ...]:
    """The turns that can be read; a bad or unknown record is set aside, never fatal (B7)."""
    turns: list[Turn] = []
    for record in records:
        if record[:1] != _FORMAT:
            log.warning("store.unknown_record", format=record[:1].hex())
            continue
        try:
            turns.append(_decoder.decode(record[1:]))
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("store.bad_record", error=type(error).__name__, size=len(record))
    return tuple(turns)


class RedisMemory:
    """Reads what the ledger wrote."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def turns(self, key: ConversationKey, *, limit: int = 200) -> tuple[Turn, ...]:
        """The newest turns, oldest first."""
        records = await self._batcher.command("LRANGE", self._keys.memory(key), -limit, -1)
        return decode_turns(records)

    async def erase(self, key: ConversationKey, turn_id: str) -> int:
        """Take one turn's entries away, and the recap made of them; returns how many."""
        records = await self._batcher.command("LRANGE", self._keys.memory(key), 0, -1)
        gone = [
            record
            for record in records
            if any(turn.turn_id == turn_id for turn in decode_turns((record,)))
        ]
        if not gone:
            return 0
        words: list[str | bytes | int] = [RETENTION_S, *gone]
        return int(await self._batcher.run(ERASE, self._keys.of(key), words))

    async def search(self, key: ConversationKey, query: str, limit: int) -> Sequence[Found]:
        """Passages that share the most words with `query`, best first, newer before older."""
        words = set(_words(query))
        scored: list[tuple[int, float, Found]] = []
        for turn in await self.turns(key, limit=_SEARCHED):
            text = turn.text or " ".join(image.seen for image in turn.images)
            score = len(words & set(_words(text)))
            if score and turn.role != "tool":
                found = Found(turn.role, text, turn.said_at, turn.label)
                scored.append((score, turn.said_at, found))
        scored.sort(key=lambda row: row[:2], reverse=True)
        return [found for _, _, found in scored[:limit]]


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if len(word) > 2]
