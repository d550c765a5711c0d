"""Labels: how far a text may be trusted and who may read it.

Two axes, joined over a turn and stored with everything. A label never improves: not by
summarising, saving, restarting or switching models.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from tools.identity import Place, Principal


class Integrity(IntEnum):
    """Who could have written the text; a higher number is trusted less."""

    OPERATOR = 0
    USER = 1
    UNTRUSTED = 2


class Label(msgspec.Struct, frozen=True):
    """Integrity, and the scopes a reader must all belong to (empty: anyone may read).

    A scope is `tenant:<tenant>`, or a smaller one inside it: `channel:<tenant>/<channel>`,
    `user:<tenant>/<user>`. Guests and shared channels have scopes of their own (`guest:`,
    `shared:`), which lie inside nothing.
    """

    integrity: Integrity = Integrity.OPERATOR
    readers: frozenset[str] = frozenset()

    def join(self, *others: Label) -> Label:
        """The label of a text made from all of these: least trust, fewest readers."""
        return join_labels((self, *others))

    def lowered_to(self, integrity: Integrity) -> Label:
        return Label(max(self.integrity, integrity), self.readers)

    def may_flow_to(self, audience: str) -> bool:
        """May everyone in the scope `audience` read this?  Unknown means no."""
        return all(_within(audience, scope) for scope in self.readers)


def join_labels(labels: Iterable[Label]) -> Label:
    integrity, readers = Integrity.OPERATOR, frozenset[str]()
    for label in labels:
        integrity = max(integrity, label.integrity)
        readers |= label.readers
    return Label(integrity, readers)


def audience_of(place: Place, principal: Principal) -> str:
    """The scope of those who read a reply given at `place`."""
    match place.kind:
        case "dm":
            kind = "user" if principal.kind in ("operator", "member") else "guest"
            return f"{kind}:{principal.tenant}/{principal.user_id}"
        case "public":
            return f"tenant:{place.tenant}"
        case "private":
            return f"channel:{place.tenant}/{place.channel}"
        case "external":
            return f"shared:{place.tenant}/{place.channel}"


def label_of(place: Place, principal: Principal) -> Label:
    """The label of what `principal` says at `place`."""
    integrity = Integrity.OPERATOR if principal.kind == "operator" else Integrity.USER
    if principal.kind in ("external", "bot"):
        integrity = Integrity.UNTRUSTED
    return Label(integrity, frozenset((audience_of(place, principal),)))


def _within(audience: str, scope: str) -> bool:
    if audience == scope:
        return True
    kind, _, rest = audience.partition(":")
    inner = kind in ("user", "channel")
    return inner and scope.startswith("tenant:") and rest.startswith(scope[7:] + "/")
