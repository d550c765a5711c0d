"""Records encrypted at rest, if the operator gave a master key: AES-256-GCM, one key a tenant.

A sealed record is `FF 31`, 4 bytes of its data key's id, 12 of nonce, then the ciphertext with
its tag. The name it is stored under is authenticated with it, so no record can stand for another.
Data keys lie in Redis, wrapped by the master key: without it, or without them, nothing is read.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import structlog

from adapters.stores.batching import Batcher, pairs
from adapters.stores.errors import READ_ERRORS, StoreRefused
from adapters.stores.keys import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = structlog.get_logger(__name__)

MARK = b"\xff1"  # no text and no JSON begins so, nor does a PNG or a JPEG
_KEY_BYTES, _ID_BYTES, _NONCE_BYTES = 32, 4, 12
_HEAD = len(MARK) + _ID_BYTES + _NONCE_BYTES
_KNOWN_FOR_S = 60.0  # a purged tenant's key is used no longer than this


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


class MasterKey:
    """The operator's key; `key_id` is public and says which one wrapped a data key."""

    def __init__(self, text: str, *, where: str) -> None:
        """`text` is 64 hex digits; raises `StoreRefused` naming `where` it came from."""
        try:
            self.secret = bytes.fromhex(text.strip())
        except ValueError:
            self.secret = b""
        if len(self.secret) != _KEY_BYTES:
            raise StoreRefused(
                f"{where} must hold a key of 64 hex digits; make one with: openssl rand -hex 32"
            )
        self.key_id = hashlib.sha256(b"firstline master key\0" + self.secret).hexdigest()[:8]


class _DataKey(msgspec.Struct, frozen=True):
    """A tenant's key as it is stored."""

    key_id: str
    master: str
    wrapped: str
    format: Literal[1] = 1


class _Ring(msgspec.Struct):
    """A tenant's key in use."""

    key_id: bytes
    cipher: AESGCM
    checked_at: float
    record: bytes


_decoder = msgspec.json.Decoder(_DataKey)


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
        self._batcher, self._keys, self._read_plain = batcher, keys, read_plain
        self._masters = {master.key_id: _cipher(master.secret) for master in masters}
        self._newest, self._clock = masters[0].key_id, clock
        self._rings: dict[str, _Ring] = {}

    async def check(self) -> None:
        """Unwrap every tenant's key, and wrap it anew where an older master key did.

        Raises `StoreRefused` when the master key is not the one of this store.
        """
        for tenant, record in pairs(await self._batcher.command("HGETALL", self._keys.sealing())):
            name = tenant.decode()
            known, secret = self._read(name, record)
            if known.master != self._newest:
                again = self._wrap(name, bytes.fromhex(known.key_id), secret)
                await self._batcher.command("HSET", self._keys.sealing(), name, again)
                log.info("sealing.rewrapped", master=self._newest)

    async def close(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        if not any(records):
            return list(records)
        ring, bound = await self._ring(tenant), name.encode()
        return [self._sealed(ring, record, bound) if record else record for record in records]

    async def open(self, tenant: str, name: str, records: Sequence[bytes]) -> list[bytes]:
        if not any(records):
            return list(records)
        ring, bound = await self._ring(tenant), name.encode()
        return [self._opened(ring, record, bound) if record else record for record in records]

    def _sealed(self, ring: _Ring, record: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return b"".join((MARK, ring.key_id, nonce, ring.cipher.encrypt(nonce, record, bound)))

    def _opened(self, ring: _Ring, record: bytes, bound: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if not is_sealed(record):
            if self._read_plain:
                return record
            log.warning("store.plain_record", remedy="memory.read_plain, for a time")
            return MARK + record
        nonce, key_id = record[_HEAD - _NONCE_BYTES : _HEAD], record[len(MARK) :][:_ID_BYTES]
        try:
            if key_id == ring.key_id:
                return ring.cipher.decrypt(nonce, record[_HEAD:], bound)
        except (InvalidTag, ValueError):
            pass
        log.warning("store.bad_record", error="sealed", key=key_id.hex(), size=len(record))
        return record

    async def _ring(self, tenant: str) -> _Ring:
        """The tenant's key: remembered, read, or made."""
        ring = self._rings.get(tenant)
        if ring is not None and self._clock() - ring.checked_at < _KNOWN_FOR_S:
            return ring
        name = self._keys.sealing()
        record = await self._batcher.command("HGET", name, tenant)
        if record is None:
            made = self._wrap(
                tenant, secrets.token_bytes(_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
            )
            await self._batcher.command("HSETNX", name, tenant, made)
            record = await self._batcher.command("HGET", name, tenant)
        if ring is None or ring.record != record:
            known, secret = self._read(tenant, record)
            ring = _Ring(bytes.fromhex(known.key_id), _cipher(secret), 0.0, record)
        ring.checked_at = self._clock()
        self._rings[tenant] = ring
        return ring

    def _wrap(self, tenant: str, key_id: bytes, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound = f"{self._keys.sealing()}\n{tenant}\n{key_id.hex()}".encode()
        wrapped = nonce + self._masters[self._newest].encrypt(nonce, secret, bound)
        text = base64.b64encode(wrapped).decode()
        return msgspec.json.encode(_DataKey(key_id.hex(), self._newest, text))

    def _read(self, tenant: str, record: bytes) -> tuple[_DataKey, bytes]:
        try:
            known = _decoder.decode(record)
        except READ_ERRORS as error:
            raise StoreRefused(f"the data key of tenant {tenant!r} is damaged") from error
        secret = self._unwrap(tenant, known)
        return known, secret

    def _unwrap(self, tenant: str, known: _DataKey) -> bytes:
        from cryptography.exceptions import InvalidTag

        master = self._masters.get(known.master)
        if master is None:
            raise StoreRefused(
                f"this store is encrypted with the master key {known.master}, not with the one "
                "of memory.key_file; give that one, or name it in memory.old_key_files"
            )
        bound = f"{self._keys.sealing()}\n{tenant}\n{known.key_id}".encode()
        try:
            wrapped = base64.b64decode(known.wrapped, validate=True)
            return master.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise StoreRefused(f"the data key of tenant {tenant!r} is damaged") from error


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
    await seal.check()
    return seal


def _cipher(secret: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StoreRefused(
            "memory.key_file needs the extra: pip install 'firstline[encryption]'"
        ) from error
    return AESGCM(secret)
