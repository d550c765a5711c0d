"""Checkpoints encrypted at rest, by the same kind of master key as the bot's memory."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from adapters.stores.data_keys import NONCE_BYTES, MasterKey, cipher_of
from adapters.stores.errors import StoreDamaged, StoreRefused

_NAME = "firstline-"  # then the master key's id


class CheckpointCipher:
    """AES-256-GCM under a key made of a master key for checkpoints alone."""

    def __init__(self, masters: Sequence[MasterKey]) -> None:
        """The first of `masters` seals; the others are only read."""
        self._newest = _NAME + masters[0].key_id
        self._ciphers = {_NAME + each.key_id: cipher_of(_derived(each)) for each in masters}

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, plaintext, self._newest.encode())
        return self._newest, nonce + sealed

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Raises `StoreRefused` without the right key, `StoreDamaged` for what was changed."""
        from cryptography.exceptions import InvalidTag

        if (cipher := self._ciphers.get(ciphername)) is None:
            raise StoreRefused(
                f"this checkpoint is encrypted with {ciphername!r}; name that key in `old_keys`"
            )
        nonce, sealed = ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, sealed, ciphername.encode())
        except (InvalidTag, ValueError) as error:
            raise StoreDamaged("a checkpoint is damaged: its seal is broken") from error


def sealed_serde(
    serde: SerializerProtocol, key: str | None, old_keys: Sequence[str]
) -> SerializerProtocol:
    """`serde` behind the cipher, or alone without a key; raises `StoreRefused` for a wrong one."""
    if key is None:
        return serde
    masters = [MasterKey(each, where="a key of RedisSaver") for each in (key, *old_keys)]
    return EncryptedSerializer(CheckpointCipher(masters), serde)


def _derived(master: MasterKey) -> bytes:
    return hashlib.sha256(b"firstline checkpoints\0" + master.secret).digest()
