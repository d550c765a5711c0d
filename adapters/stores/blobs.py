"""Pictures by content hash, kept per conversation with their label."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from tools.identity import ConversationKey
from tools.labels import Label


class Blob(msgspec.Struct, frozen=True):
    data: bytes
    media_type: str
    label: Label


class RedisBlobs:
    """Stores bytes once per conversation; the same bytes give the same name."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def put(self, key: ConversationKey, blob: Blob) -> str:
        """Keep the blob for the retention time; returns its sha256."""
        sha256 = hashlib.sha256(blob.data).hexdigest()
        name = self._keys.blob(key, sha256)
        label = msgspec.json.encode(blob.label)
        fields = ("data", blob.data, "media_type", blob.media_type, "label", label)
        await asyncio.gather(
            self._batcher.command("HSET", name, *fields),
            self._batcher.command("EXPIRE", name, RETENTION_S),
        )
        return sha256

    async def get(self, key: ConversationKey, sha256: str) -> Blob | None:
        data, media_type, label = await self._batcher.command(
            "HMGET", self._keys.blob(key, sha256), "data", "media_type", "label"
        )
        if data is None or media_type is None or label is None:
            return None
        return Blob(data, media_type.decode(), msgspec.json.decode(label, type=Label))
