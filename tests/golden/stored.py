"""A store as plain JSON: captured once for each release, and put back by the tests."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from adapters.stores.batching import Batcher, pairs
from adapters.stores.connection import Redis

FOLDER = Path(__file__).parent
_READ = {
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"set": ("SMEMBERS",),
}
_WRITE = {"string": "SET", "list": "RPUSH", "hash": "HSET", "zset": "ZADD", "set": "SADD"}


async def capture(redis: Redis, batcher: Batcher, root: str) -> list[dict[str, Any]]:
    """Every key below `root` with its type and value; text stays text."""
    found = []
    names = sorted([name async for name in redis.scan_iter(match=f"{root}*")])
    for name in names:
        kind = bytes(await batcher.command("TYPE", name))
        if kind not in _READ:
            continue  # a stream: its entries have ids of their own
        verb, *words = _READ[kind]
        value = await batcher.command(verb, name, *words)
        if kind == b"hash":
            value = [part for row in sorted(pairs(value)) for part in row]
        if kind == b"zset":  # pairs in RESP3, flat in RESP2
            value = [p for row in value for p in (row if isinstance(row, list) else [row])]
        parts = [value] if isinstance(value, bytes) else list(value)
        found.append(
            {
                "name": name.decode().removeprefix(root),
                "type": kind.decode(),
                "value": [_text(part) for part in parts],
            }
        )
    return found


async def restore(batcher: Batcher, root: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        value = [_bytes(part) for part in row["value"]]
        if row["type"] == "zset":
            value = [part for at in range(0, len(value), 2) for part in (value[at + 1], value[at])]
        await batcher.command(_WRITE[row["type"]], root + row["name"], *value)


def read(version: str, name: str) -> Any:
    return json.loads((FOLDER / f"store-{version}" / f"{name}.json").read_text(encoding="utf-8"))


def _text(part: bytes | float) -> str | float | dict[str, str]:
    if not isinstance(part, bytes):
        return float(part)
    try:
        return part.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(part).decode()}


def _bytes(part: str | float | dict[str, str]) -> bytes:
    if isinstance(part, dict):
        return base64.b64decode(part["base64"])
    return part.encode() if isinstance(part, str) else repr(part).encode()
