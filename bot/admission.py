"""The one gate: every event becomes a Principal and a Place here, or is denied.

Ids only, never names. An empty list means nobody; `*` must be typed by the operator.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from adapters.chat.types import Author
from tools.identity import ConversationKey, Place, Principal

_LOCAL = frozenset({"terminal", "browser"})
ANYONE = "*"


class AccessList(msgspec.Struct, frozen=True):
    """Who may talk to the bot on one platform, and where."""

    workspaces: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    guests: bool = False
    external: bool = False


class Admitted(msgspec.Struct, frozen=True):
    principal: Principal
    place: Place


class Asker(msgspec.Struct, frozen=True):
    """Who gives a command; `is_private`: they alone see its answer."""

    principal: Principal
    is_private: bool
    locale: str = "en"  # the language of what they are told


class Denied(msgspec.Struct, frozen=True):
    """`reason` is for the operator's log; it holds ids of kinds, never text."""

    reason: str


class Gate:
    """Admission by the operator's access lists, one per platform."""

    def __init__(self, access: Mapping[str, AccessList]) -> None:
        self._access = access

    def replace(self, access: Mapping[str, AccessList]) -> None:
        """These lists from now on."""
        self._access = access

    def admit(self, key: ConversationKey, author: Author) -> Admitted | Denied:
        """Pure and quick; called for messages, commands and button presses alike."""
        platform, _, workspace = key.tenant.partition(":")
        if reason := self._refusal(platform, workspace, key, author):
            return Denied(reason)
        return Admitted(
            Principal(key.tenant, author.user_id, author.kind),
            Place.of(key),
        )

    def _refusal(
        self, platform: str, workspace: str, key: ConversationKey, author: Author
    ) -> str | None:
        if platform in _LOCAL:
            return None if author.kind == "operator" else "only the operator is local"
        access = self._access.get(platform, AccessList())
        if author.kind in ("bot", "operator"):
            return f"a {author.kind} is never a principal here"
        if author.kind == "guest" and not access.guests:
            return "guests are not allowed"
        if (author.kind == "external" or key.place == "external") and not access.external:
            return "external people and shared channels are not allowed"
        return _outside(access, platform, workspace, key, author)


def _outside(
    access: AccessList, platform: str, workspace: str, key: ConversationKey, author: Author
) -> str | None:
    if platform == "discord" and key.place == "dm":
        # Anyone on Discord can open a direct message, so `*` is not enough there.
        return None if author.user_id in access.users else "direct messages need the user's id"
    if not _named(access.workspaces, workspace):
        return "the workspace is not allowed"
    if not _named(access.users, author.user_id):
        return "the user is not allowed"
    if key.place != "dm" and not _named(access.channels, key.channel):
        return "the channel is not allowed"
    return None


def _named(allowed: frozenset[str], wanted: str) -> bool:
    return wanted in allowed or ANYONE in allowed
