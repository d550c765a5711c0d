"""Slack's signature on a request, checked on bytes; nothing here raises, whatever comes.

`v0=` and the HMAC-SHA256 of `v0:` + timestamp + `:` + body under the app's signing secret; a
timestamp more than five minutes off is refused
(docs.slack.dev/authentication/verifying-requests-from-slack, 2026-08).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_S = 300
STAMP_HEADER = b"x-slack-request-timestamp"
SIGNATURE_HEADER = b"x-slack-signature"
_STAMP = re.compile(rb"[0-9]{1,11}")
_SIGNATURE = re.compile(rb"v0=[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the headers claim: well-formed, and not yet believed."""

    stamp: bytes
    signature: bytes

    def skew_s(self, now: float) -> float:
        """How far our clock is ahead of the sender's."""
        return now - int(self.stamp)

    @property
    def name(self) -> str:
        """What a request that comes again is known by."""
        return hashlib.sha256(self.stamp + self.signature).hexdigest()


def read_claim(headers: Iterable[tuple[bytes, bytes]]) -> Claimed | None:
    """The claim of lower-case headers; None when one is missing, malformed or there twice."""
    found: dict[bytes, list[bytes]] = {STAMP_HEADER: [], SIGNATURE_HEADER: []}
    for name, value in headers:
        if name in found:
            found[name].append(value)
    match found[STAMP_HEADER], found[SIGNATURE_HEADER]:
        case [stamp], [signature] if _STAMP.fullmatch(stamp) and _SIGNATURE.fullmatch(signature):
            return Claimed(stamp, signature)
    return None


def is_signed(secret: bytes, claimed: Claimed, body: bytes | bytearray) -> bool:
    """Whether who made the claim knows the secret."""
    return hmac.compare_digest(signature_of(secret, claimed.stamp, body), claimed.signature)


def signature_of(secret: bytes, stamp: bytes, body: bytes | bytearray) -> bytes:
    """The signature Slack would send."""
    mac = hmac.new(secret, b"v0:" + stamp + b":", hashlib.sha256)
    mac.update(body)
    return b"v0=" + mac.hexdigest().encode()
