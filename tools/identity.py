"""Who speaks and where: ids only, never names; frozen at admission."""

from __future__ import annotations

from typing import Literal

import msgspec

PlaceKind = Literal["dm", "private", "public", "external"]
PrincipalKind = Literal["operator", "member", "guest", "external", "bot"]


def _prefixed(part: str) -> str:
    return f"{len(part)}:{part}"


def _take(text: str, at: int) -> tuple[str, int]:
    colon = text.index(":", at)
    end = colon + 1 + int(text[at:colon])
    if end > len(text):
        raise ValueError("length prefix runs past the end")
    return text[colon + 1 : end], end


class ConversationKey(msgspec.Struct, frozen=True, order=True):
    """Where a conversation lives. `str(key)` is its only serialised form.

    Every part carries its length, so no id can imitate another key, and the tenant is the
    Redis hash tag, so all keys of a tenant share one cluster slot.
    """

    tenant: str  # platform and workspace or guild, made by `tenant_of`
    place: PlaceKind
    channel: str
    thread: str | None = None

    def __str__(self) -> str:
        thread = "-" if self.thread is None else _prefixed(self.thread)
        return f"{tenant_tag(self.tenant)}{self.place}/{_prefixed(self.channel)}{thread}"

    @classmethod
    def parse(cls, text: str) -> ConversationKey:
        """Read `str(key)` back; raises `ValueError` for anything else."""
        if not text.startswith("{"):
            raise ValueError("not a conversation key: no tenant tag")
        tenant, at = _take(text, 1)
        if text[at : at + 1] != "}":
            raise ValueError("not a conversation key: open tenant tag")
        slash = text.index("/", at)
        place = msgspec.convert(text[at + 1 : slash], PlaceKind)
        channel, at = _take(text, slash + 1)
        if text[at:] == "-":
            return cls(tenant, place, channel)
        thread, end = _take(text, at)
        if end != len(text):
            raise ValueError("not a conversation key: trailing text")
        return cls(tenant, place, channel, thread)


def tenant_of(platform: str, workspace: str) -> str:
    """The tenant id: `tenant_of("slack", "T1")`; unambiguous for any two ids."""
    return f"{platform}:{workspace}"


def tenant_tag(tenant: str) -> str:
    """The tenant as Redis hash tag, `{8:slack:T1}`."""
    return "{" + _prefixed(tenant) + "}"


class Principal(msgspec.Struct, frozen=True):
    """Who speaks. Tool arguments can never set or change it."""

    tenant: str
    user_id: str
    kind: PrincipalKind


class Place(msgspec.Struct, frozen=True):
    """Where a message was said, and therefore who reads the reply."""

    tenant: str
    kind: PlaceKind
    channel: str
    thread: str | None = None

    @classmethod
    def of(cls, key: ConversationKey) -> Place:
        return cls(key.tenant, key.place, key.channel, key.thread)
