"""What is wrong with a file, as facts; the sentences for people are the bot's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Reason = Literal[
    "empty",
    "audio",
    "unknown",
    "mismatch",
    "size",
    "pixels",
    "damaged",
    "heavy",
    "locked",
    "bomb",
    "nested",
    "entities",
    "blank",
    "missing",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


FIELDS = frozenset(
    {"kind", "claimed", "size", "limit", "width", "height", "megapixels", "edge"}
    | {"seconds", "megabytes", "ratio", "entries"}
)


class FileRefused(Exception):
    """A file can't be used; `fields` fill the sentence that belongs to `reason`."""

    def __init__(self, reason: Reason, **fields: str | int) -> None:
        told = ", ".join(f"{name}={value}" for name, value in fields.items())
        super().__init__(f"{reason} ({told})" if told else reason)
        self.reason: Reason = reason
        self.fields: Mapping[str, str | int] = fields
