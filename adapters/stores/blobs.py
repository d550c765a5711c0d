"""Pictures by content hash, kept per conversation with their label."""

from __future__ import annotations

import hashlib

import msgspec
import structlog

from adapters.stores.batching import Batcher
from adapters.stores.claim import Lease
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from adapters.stores.memory_scripts import KEEP_BLOB
from adapters.stores.sealing import PLAIN, Seal, is_sealed
from tools.identity import ConversationKey
from tools.labels import Label

log = structlog.get_logger(__name__)


class Blob(msgspec.Struct, frozen=True):
    data: bytes
    media_type: str
    label: Label


class RedisBlobs:
    """Stores bytes once per conversation; the same bytes give the same name."""

    def __init__(
        self, batcher: Batcher, keys: Keys, *, retention_s: int = RETENTION_S, seal: Seal = PLAIN
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s = retention_s

    async def put(self, lease: Lease, turn_id: str, blob: Blob) -> str:
        """Keep the blob for the retention time; returns its sha256.

        Raises `StaleLease` and `Halted`: what a forgotten turn brings is not kept.
        """
        key, sha256 = lease.key, hashlib.sha256(blob.data).hexdigest()
        name = self._keys.blob(key, sha256)
        [data] = await self._seal.close(key.tenant, name, [blob.data])
        label = msgspec.json.encode(blob.label)
        names = self._keys.of(key)
        await self._batcher.run(
            KEEP_BLOB,
            [names[1], names[3], self._keys.blobs(key), name],
            [lease.fence, self._retention_s, turn_id, sha256, data, blob.media_type, label],
        )
        return sha256

    async def get(self, key: ConversationKey, sha256: str) -> Blob | None:
        """None when it is not kept any more, or can't be read."""
        name = self._keys.blob(key, sha256)
        sealed, media_type, label = await self._batcher.command(
            "HMGET", name, "data", "media_type", "label"
        )
        if sealed is None or media_type is None or label is None:
            return None
        [data] = await self._seal.open(key.tenant, name, [sealed])
        try:
            blob = Blob(data, media_type.decode(), msgspec.json.decode(label, type=Label))
        except READ_ERRORS as error:
            log.warning("store.bad_record", error=type(error).__name__, size=len(label))
            return None
        return None if is_sealed(data) or hashlib.sha256(data).hexdigest() != sha256 else blob

    async def count(self, key: ConversationKey) -> int:
        """How many pictures are kept of a conversation."""
        members = await self._batcher.command("ZRANGE", self._keys.blobs(key), 0, -1)
        return len({member.rpartition(b" ")[2] for member in members})
