"""The tenants' data keys: random, wrapped by the operator's master key, kept in Redis."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from adapters.stores.batching import Batcher, Script, pairs
from adapters.stores.errors import READ_ERRORS, StoreRefused
from adapters.stores.keys import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = structlog.get_logger(__name__)

KEY_ID_BYTES = 4
NONCE_BYTES = 12
_KEY_BYTES = 32

# KEYS sealing · ARGV tenant, the record that was read, the new one
_SWAP = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
""")


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


class DataKey(msgspec.Struct, frozen=True):
    """A tenant's key as it is stored; `older` ones (id → wrapped) are only read."""

    key_id: str
    master: str
    wrapped: str
    format: Literal[1] = 1
    older: dict[str, str] = {}


_decoder = msgspec.json.Decoder(DataKey)


class DataKeys:
    """Raises `StoreUnavailable`; `StoreRefused` for a lost master key, or a damaged record."""

    def __init__(self, batcher: Batcher, keys: Keys, masters: Sequence[MasterKey]) -> None:
        """The first of `masters` wraps; the others are only read."""
        self._batcher, self._name = batcher, keys.sealing()
        self._masters = {master.key_id: cipher_of(master.secret) for master in masters}
        self._newest = masters[0].key_id

    async def stored(self, tenant: str) -> bytes:
        """A tenant's keys as they are stored; the first is made here."""
        record: bytes | None = await self._batcher.command("HGET", self._name, tenant)
        if record is None:
            key_id = secrets.token_hex(KEY_ID_BYTES)
            made = self._wrap(tenant, key_id, {key_id: secrets.token_bytes(_KEY_BYTES)})
            await self._batcher.command("HSETNX", self._name, tenant, made)
            record = await self._batcher.command("HGET", self._name, tenant)
        return record or b""

    def read(self, tenant: str, record: bytes) -> tuple[DataKey, dict[str, bytes]]:
        """The stored keys, and each one's secret by its id."""
        try:
            known = _decoder.decode(record)
        except READ_ERRORS as error:
            raise StoreRefused(f"the data key of tenant {tenant!r} is damaged") from error
        wrapped = {known.key_id: known.wrapped, **known.older}
        return known, {each: self._unwrap(tenant, known, each, wrapped[each]) for each in wrapped}

    async def check(self) -> None:
        """Unwrap every tenant's keys, and wrap them anew where an older master key did."""
        for tenant, record in await self._all():
            known, found = self.read(tenant, record)
            if known.master != self._newest:
                await self._swap(tenant, record, self._wrap(tenant, known.key_id, found))
                log.info("sealing.rewrapped", master=self._newest)

    async def begin_rotation(self) -> int:
        """Give every tenant a new key beside the old one; returns how many have two now.

        Who has two already keeps them: that rotation goes on.
        """
        tenants = await self._all()
        for tenant, record in tenants:
            known, found = self.read(tenant, record)
            if not known.older:
                key_id = secrets.token_hex(KEY_ID_BYTES)
                both = {**found, key_id: secrets.token_bytes(_KEY_BYTES)}
                await self._swap(tenant, record, self._wrap(tenant, key_id, both))
        return len(tenants)

    async def end_rotation(self) -> int:
        """Drop every older key: what they sealed can't be read again. Returns how many."""
        dropped = 0
        for tenant, record in await self._all():
            known, found = self.read(tenant, record)
            if known.older:
                only = {known.key_id: found[known.key_id]}
                await self._swap(tenant, record, self._wrap(tenant, known.key_id, only))
                dropped += len(known.older)
        return dropped

    async def _all(self) -> list[tuple[str, bytes]]:
        answer = await self._batcher.command("HGETALL", self._name)
        return [(tenant.decode(), record) for tenant, record in pairs(answer)]

    async def _swap(self, tenant: str, was: bytes, now: bytes) -> None:
        """Nothing happens when another process changed it meanwhile."""
        await self._batcher.run(_SWAP, [self._name], [tenant, was, now])

    def _wrap(self, tenant: str, key_id: str, found: Mapping[str, bytes]) -> bytes:
        """A tenant's keys as they are stored; `key_id` is the newest."""
        master, older = self._masters[self._newest], {}
        for each, secret in found.items():
            nonce = secrets.token_bytes(NONCE_BYTES)
            bound = f"{self._name}\n{tenant}\n{each}".encode()
            older[each] = base64.b64encode(nonce + master.encrypt(nonce, secret, bound)).decode()
        wrapped = older.pop(key_id)
        return msgspec.json.encode(DataKey(key_id, self._newest, wrapped, older=older))

    def _unwrap(self, tenant: str, known: DataKey, key_id: str, wrapped: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        master = self._masters.get(known.master)
        if master is None:
            raise StoreRefused(
                f"this store is encrypted with the master key {known.master}, not with the one "
                "of memory.key_file; give that one, or name it in memory.old_key_files"
            )
        bound = f"{self._name}\n{tenant}\n{key_id}".encode()
        try:
            sealed = base64.b64decode(wrapped, validate=True)
            return master.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise StoreRefused(f"the data key of tenant {tenant!r} is damaged") from error


def cipher_of(secret: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StoreRefused(
            "memory.key_file needs the extra: pip install 'firstline[encryption]'"
        ) from error
    return AESGCM(secret)
