"""What every kind of key holds and how long it may live, and how to read a key's name."""

from __future__ import annotations

from typing import Literal

from tools.identity import ConversationKey, tenant_tag

Life = Literal["work", "expires", "stays"]

# A key's type, and how long it may live; "work" ends with its turn.
_OF_CONVERSATION: dict[str, tuple[str, Life]] = {
    "lease": ("string", "work"),
    "fence": ("string", "work"),
    "line": ("zset", "work"),
    "turn": ("hash", "work"),
    "steps": ("list", "work"),
    "outbox": ("hash", "work"),
    "memory": ("list", "expires"),
    "pins": ("hash", "expires"),
    "recap": ("hash", "expires"),
    "answers": ("hash", "expires"),
    "last": ("string", "expires"),
    "approvals": ("hash", "expires"),
    "blob": ("hash", "expires"),
    "blobs": ("zset", "expires"),
}
_OF_TENANT: dict[str, tuple[str, Life]] = {
    "due": ("zset", "work"),
    "closed": ("stream", "stays"),
    "dead": ("hash", "stays"),
    "marks": ("hash", "stays"),
    "threads": ("hash", "stays"),
    "seen": ("string", "expires"),
    "spent": ("string", "expires"),
    "open": ("zset", "expires"),
    "journal": ("stream", "stays"),
    "journal-head": ("hash", "stays"),
    "reminders": ("hash", "stays"),
    "later": ("zset", "stays"),
    "hand-overs": ("hash", "stays"),
    "facts": ("hash", "expires"),
    "feedback": ("hash", "expires"),
    "feedback-order": ("zset", "expires"),
}
_OF_ALL: dict[str, tuple[str, Life]] = {
    "bell": ("stream", "stays"),
    "tenants": ("set", "expires"),
    "sealing": ("hash", "stays"),
    "identifies": ("zset", "expires"),
    "installs": ("hash", "stays"),
    "installs-changed": ("string", "stays"),
    "leaving": ("zset", "stays"),
    "once": ("string", "expires"),
}

# What could not be what the bot wrote; of any type, kept for a while to be looked at (B7).
_SET_ASIDE: tuple[str, Life] = ("", "expires")


def tenant_in(rest: str) -> str:
    """The tenant whose tag a name without its prefix begins with; "" without one."""
    length, _, tail = rest.removeprefix("{").partition(":")
    return tail[: int(length)] if rest.startswith("{") and length.isdigit() else ""


def kind_of(rest: str) -> tuple[ConversationKey | None, str, tuple[str, Life] | None]:
    """Of a name without its prefix: whose key it is, its kind, and what is known of that kind."""
    if rest.startswith("{bell:"):
        return None, "bell", _OF_ALL["bell"]
    if not rest.startswith("{"):
        kind = rest.partition(":")[0]
        return None, kind, _OF_ALL.get(kind)
    of_tenant = tenant_tag(tenant_in(rest)) + ":"
    if rest.startswith(of_tenant):
        kind = rest[len(of_tenant) :].partition(":")[0]
        return None, kind, _OF_TENANT.get(kind)
    at = rest.find(":", rest.find(":") + 1)
    while at != -1:
        kind, _, tail = rest[at + 1 :].partition(":")
        try:
            key = ConversationKey.parse(rest[:at])
        except ValueError:
            at = rest.find(":", at + 1)
            continue
        if tail == "bad":
            return key, "set aside", _SET_ASIDE
        return key, kind, _OF_CONVERSATION.get(kind)
    return None, "", None
