"""A conversation's memory: an append-only list of turns, written by the ledger's script, and the
recap that stands for its oldest entries."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import structlog

from adapters.stores import memory_scripts
from adapters.stores.batching import Batcher
from adapters.stores.change_scripts import ERASE
from adapters.stores.claim import Recap, read_recap
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from adapters.stores.sealing import PLAIN, Seal, is_sealed
from agents.summary import Summary
from agents.turns import Turn
from tools.contract import Found
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_SEARCHED = 2000  # newest entries a search reads
_READ_AT_ONCE = 400  # entries that a compaction looks at
_turns = msgspec.json.Decoder(Turn)
_summaries = msgspec.json.Decoder(Summary)
_encoder = msgspec.json.Encoder()
_FORMAT = b"1"  # stored as a one-byte prefix; other formats are left alone and told


class UnknownFormat(ValueError):
    """A record of a format that this version does not know; it is left as it is."""


class Uncovered(msgspec.Struct, frozen=True):
    """The oldest entries that no recap covers; None stands for one that can't be read.

    `first` is how many entries were stored before them.
    """

    recap: Recap
    first: int
    turns: tuple[Turn | None, ...]


def encode_turn(turn: Turn) -> bytes:
    """A stored record: the format's version, then JSON."""
    return _FORMAT + _encoder.encode(turn)


def decode_turns(records: Sequence[bytes]) -> tuple[Turn, ...]:
    """The turns that can be read; a bad or unknown record is set aside, never fatal (B7)."""
    return tuple(turn for record in records if (turn := _decode_turn(record)) is not None)


def encode_summary(summary: Summary) -> bytes:
    return _FORMAT + _encoder.encode(summary)


def decode_summary(record: bytes) -> Summary | None:
    """The stored summary; None when there is none, or none that can be read.

    Raises `UnknownFormat` for what a newer version wrote.
    """
    if not record:
        return None
    if is_sealed(record):
        return None  # its seal is broken, and the unsealer told it
    if record[:1] != _FORMAT:
        log.warning("store.unknown_record", format=record[:1].hex())
        raise UnknownFormat("a recap of an unknown format")
    try:
        return _summaries.decode(record[1:])
    except READ_ERRORS as error:
        log.warning("store.bad_record", error=type(error).__name__, size=len(record))
        return None


def _decode_turn(record: bytes) -> Turn | None:
    if is_sealed(record):
        return None
    if record[:1] != _FORMAT:
        log.warning("store.unknown_record", format=record[:1].hex())
        return None
    try:
        return _turns.decode(record[1:])
    except READ_ERRORS as error:
        log.warning("store.bad_record", error=type(error).__name__, size=len(record))
        return None


class RedisMemory:
    """Reads what the ledger wrote, and keeps the recap."""

    def __init__(
        self, batcher: Batcher, keys: Keys, *, retention_s: int = RETENTION_S, seal: Seal = PLAIN
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s = retention_s

    async def turns(self, key: ConversationKey, *, limit: int = 200) -> tuple[Turn, ...]:
        """The newest turns, oldest first."""
        records = await self._batcher.command("LRANGE", self._keys.memory(key), -limit, -1)
        return decode_turns(await self._opened(key, "memory", records))

    async def size(self, key: ConversationKey) -> int:
        """How many entries are stored."""
        return int(await self._batcher.command("LLEN", self._keys.memory(key)))

    async def uncovered(self, key: ConversationKey, *, from_start: bool = False) -> Uncovered:
        """What a compaction begins from; `from_start` looks behind the recap too."""
        names = [self._keys.memory(key), self._keys.recap(key)]
        words = [_READ_AT_ONCE, int(from_start)]
        answer, start, records = await self._batcher.run(memory_scripts.UNCOVERED, names, words)
        recap = read_recap(answer)
        [record] = await self._opened(key, "recap", [recap.record])
        recap = msgspec.structs.replace(recap, record=record)
        plain = await self._opened(key, "memory", records)
        return Uncovered(recap, recap.dropped + start, tuple(map(_decode_turn, plain)))

    async def write_recap(
        self, key: ConversationKey, summary: Summary, *, was: Recap, covers: int
    ) -> bool:
        """Let `summary` stand for the first `covers` entries.

        False, and nothing is written, when the recap is not `was` any more: another compaction
        was faster, or something was forgotten.
        """
        names = [self._keys.memory(key), self._keys.recap(key)]
        plain, name = encode_summary(summary), self._keys.record(key, "recap")
        [record] = await self._seal.close(key.tenant, name, [plain])
        words: list[str | bytes | int] = [was.epoch, was.covers, covers, record, self._retention_s]
        return bool(await self._batcher.run(memory_scripts.RECAP, names, words))

    async def erase(self, key: ConversationKey, turn_id: str) -> int:
        """Take one turn's entries and pictures away, and the recap made of them; returns how many
        entries."""
        records = await self._batcher.command("LRANGE", self._keys.memory(key), 0, -1)
        plain = await self._opened(key, "memory", records)
        gone = [
            stored
            for stored, record in zip(records, plain, strict=True)
            if any(turn.turn_id == turn_id for turn in decode_turns((record,)))
        ]
        names = [*self._keys.of(key), self._keys.blobs(key)]
        words: list[str | bytes | int] = [self._retention_s, turn_id, self._keys.blob_start(key)]
        return int(await self._batcher.run(ERASE, names, [*words, *gone]))

    async def _opened(
        self, key: ConversationKey, kind: str, records: Sequence[bytes]
    ) -> Sequence[bytes]:
        return await self._seal.open(key.tenant, self._keys.record(key, kind), records)

    async def search(
        self, key: ConversationKey, query: str, limit: int, *, audience: str
    ) -> Sequence[Found]:
        """Passages that everyone in the scope `audience` may read and that share the most words
        with `query`, best first, newer before older."""
        words = set(_words(query))
        scored: list[tuple[int, float, Found]] = []
        for turn in await self.turns(key, limit=_SEARCHED):
            if turn.role == "tool" or not turn.label.may_flow_to(audience):
                continue
            text = turn.text or " ".join(image.seen for image in turn.images)
            if score := len(words & set(_words(text))):
                found = Found(turn.role, text, turn.said_at, turn.label)
                scored.append((score, turn.said_at, found))
        scored.sort(key=lambda row: row[:2], reverse=True)
        return [found for _, _, found in scored[:limit]]


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if len(word) > 2]
