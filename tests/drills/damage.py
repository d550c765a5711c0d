"""Hostile, foreign, broken and oversized records for every key of a conversation (row B7)."""

from __future__ import annotations

import pickle
from typing import Literal, NamedTuple

from hypothesis import strategies as st

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys
from tools.identity import ConversationKey

Kind = Literal["string", "list", "hash", "zset", "set", "stream", "entry", "field"]


class Opened:
    """What a pickle would do to who opens it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a stored record was run')",)


HOSTILE = (
    pickle.dumps(Opened()),
    b"",
    b"\xff\xfe\x00",
    b"\n\n",
    b"id\ngroup\n",
    b"id\ngroup\n{}",
    b"[" * 50_000,
    b'{"a":' * 5_000,
    b"9" * 6_000,
    b"-1",
    b"1e400",
    b"nan",
    b"999999999999999999999",
    b'{"format": 99, "accepted_at": 0}',
    b'1{"role": 7}',
    b"1" + b"[" * 5_000,
    b"__import__('os')._exit(1)",
    b"return redis.call('FLUSHALL')",
    b"x" * 1_000_000,
)
FIELDS = (
    *("events", "event:1", "id:1", "deaths", "group", "halt", "ending", "effect", "try:0"),
    *("try:x", "sent:0", "sent:x", "note:placeholder", "0", "1", "x", "covers", "dropped"),
    *("epoch", "record", "planner", "\x00"),
)


class Damage(NamedTuple):
    """`kind` makes the key anew as that type; an entry or a field joins what is there."""

    place: int
    kind: Kind
    field: str
    value: bytes


def damages(places: int) -> st.SearchStrategy[list[Damage]]:
    one = st.builds(
        Damage,
        st.integers(0, places - 1),
        st.sampled_from(("string", "list", "hash", "zset", "set", "stream", "entry", "field")),
        st.sampled_from(FIELDS),
        st.sampled_from(HOSTILE) | st.binary(max_size=64),
    )
    return st.lists(one, min_size=1, max_size=3)


def names_of(keys: Keys, key: ConversationKey) -> list[str]:
    return [*keys.of(key), keys.channel_pins(key), keys.closed(key.tenant), keys.dead(key.tenant)]


_ENTRY = {b"list": "RPUSH", b"set": "SADD", b"string": "SET"}


async def inflict(batcher: Batcher, name: str, damage: Damage) -> None:
    kind = damage.kind
    if kind in ("entry", "field"):
        there = await batcher.command("TYPE", name)
        if there in (b"none", b"stream"):
            return
        if there == b"hash":
            await batcher.command("HSET", name, damage.field, damage.value)
        elif there == b"zset":
            await batcher.command("ZADD", name, 0.5, damage.value)
        else:
            await batcher.command(_ENTRY[there], name, damage.value)
        return
    await batcher.command("DEL", name)
    words: dict[str, tuple[str | bytes, ...]] = {
        "string": ("SET", name, damage.value),
        "list": ("RPUSH", name, damage.value),
        "hash": ("HSET", name, damage.field, damage.value),
        "zset": ("ZADD", name, "1", damage.value),
        "set": ("SADD", name, damage.value),
        "stream": ("XADD", name, "*", damage.field, damage.value),
    }
    await batcher.command(*words[kind])
