"""Records encrypted at rest, if the operator gave a master key: AES-256-GCM, one key a tenant.

A sealed record is `FF 31`, 4 bytes of its data key's id, 12 of nonce, then the ciphertext with
its tag. The name it is stored under is authenticated with it, so no record can stand for another.
Data keys lie in Redis, wrapped by the master key: without it, or without them, nothing is read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from adapters.stores.batching import Batcher
from adapters.stores.data_keys import KEY_ID_BYTES, NONCE_BYTES, DataKeys, MasterKey, cipher_of
from adapters.stores.errors import StoreRefused
from adapters.stores.keys import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["MARK", "PLAIN", "AesSeal", "MasterKey", "Plain", "Seal", "is_sealed", "open_seal"]

log = structlog.get_logger(__name__)

MARK = b"\xff1"  # no text and no JSON begins so, nor does a PNG or a JPEG
_HEAD = len(MARK) + KEY_ID_BYTES + NONCE_BYTES
KNOWN_FOR_S = 60.0  # a purged tenant's key, or a replaced one, is used no longer than this
_LOOK_AGAIN_S = 1.0  # for a key that another process made, when a record names an unknown one


class Seal(Protocol):
    """What stands between the stores and Redis."""

    async def close(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        """The records as they are stored under `name`; empty ones stay empty."""
        ...

    async def open(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        """What was closed. A record that can't be opened is told, and returned as it is: it is
        no JSON, so its reader sets it aside."""
        ...


class Plain:
    """Nothing is encrypted."""

    async def close(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        return list(records)

    async def open(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        return list(records)


PLAIN: Seal = Plain()


def is_sealed(record: bytes) -> bool:
    return record.startswith(MARK)


class _Ring(msgspec.Struct):
    """A tenant's keys in use: `key_id` seals, each opens what it sealed."""

    key_id: bytes
    ciphers: dict[bytes, AESGCM]
    checked_at: float
    record: bytes


class AesSeal:
    """Made by `open_seal`. Raises `StoreUnavailable`; `StoreRefused` for a lost master key."""

    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        masters: Sequence[MasterKey],
        *,
        read_plain: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The first of `masters` wraps; the others are only read."""
        self.data_keys = DataKeys(batcher, keys, masters)
        self._read_plain, self._clock = read_plain, clock
        self._rings: dict[str, _Ring] = {}

    async def close(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        if not any(records):
            return list(records)
        ring, bound = await self._ring(tenant), name.encode()
        return [self._sealed(ring, record, bound) if record else record for record in records]

    async def open(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        if not any(records):
            return list(records)
        ring, bound = await self._ring(tenant), name.encode()
        if any(is_sealed(record) and _key_of(record) not in ring.ciphers for record in records):
            ring = await self._ring(tenant, known_for_s=_LOOK_AGAIN_S)
        return [self._opened(ring, record, bound) if record else record for record in records]

    async def renewed(self, tenant: str, name: str, record: bytes) -> bytes:
        """The record under the tenant's newest key; as it is when no key of ours sealed it.

        Raises `ValueError` for one that can't be opened.
        """
        ring = await self._ring(tenant)
        if is_sealed(record):
            is_older = _key_of(record) in ring.ciphers and _key_of(record) != ring.key_id
        else:
            is_older = self._read_plain
        if not is_older:
            return record
        [plain] = await self.open(tenant, name, [record])
        if is_sealed(plain):
            raise ValueError("a record that can't be opened")
        [sealed] = await self.close(tenant, name, [plain])
        return sealed

    def forget_keys(self) -> None:
        """Read every key anew: they were changed here."""
        self._rings.clear()

    def _sealed(self, ring: _Ring, record: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = ring.ciphers[ring.key_id]
        return b"".join((MARK, ring.key_id, nonce, cipher.encrypt(nonce, record, bound)))

    def _opened(self, ring: _Ring, record: bytes, bound: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if not is_sealed(record):
            if self._read_plain:
                return record
            log.warning("store.plain_record", remedy="memory.read_plain, for a time")
            return MARK + record
        nonce, key_id = record[_HEAD - NONCE_BYTES : _HEAD], _key_of(record)
        try:
            if (cipher := ring.ciphers.get(key_id)) is not None:
                return cipher.decrypt(nonce, record[_HEAD:], bound)
        except (InvalidTag, ValueError):
            pass
        log.warning("store.bad_record", error="sealed", key=key_id.hex(), size=len(record))
        return record

    async def _ring(self, tenant: str, *, known_for_s: float = KNOWN_FOR_S) -> _Ring:
        """The tenant's keys: remembered, read, or made."""
        ring = self._rings.get(tenant)
        if ring is not None and self._clock() - ring.checked_at < known_for_s:
            return ring
        record = await self.data_keys.stored(tenant)
        if ring is None or ring.record != record:
            known, found = self.data_keys.read(tenant, record)
            ciphers = {bytes.fromhex(each): cipher_of(secret) for each, secret in found.items()}
            ring = _Ring(bytes.fromhex(known.key_id), ciphers, 0.0, record)
        ring.checked_at = self._clock()
        self._rings[tenant] = ring
        return ring


async def open_seal(
    batcher: Batcher, keys: Keys, masters: Sequence[MasterKey], *, read_plain: bool = False
) -> Seal:
    """Plain without a master key; raises `StoreRefused` when the store and the keys don't fit."""
    if not masters:
        if await batcher.command("EXISTS", keys.sealing()):
            raise StoreRefused(
                "this store is encrypted; set memory.key_file to the file with its master key"
            )
        return PLAIN
    seal = AesSeal(batcher, keys, masters, read_plain=read_plain)
    await seal.data_keys.check()
    return seal


def _key_of(record: bytes) -> bytes:
    return record[len(MARK) :][:KEY_ID_BYTES]
