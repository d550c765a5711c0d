"""Errors of the stores.

StoreError
├── StoreRefused     this Redis can't carry the bot; names the setting and the remedy
├── StoreUnavailable Redis did not answer, or answered that it can't write now
│   └── StoreDamaged a key is not what the ledger wrote there
├── StaleLease       another worker holds the conversation now: stop at once
└── Halted           the question was stopped, edited, deleted or forgotten
"""

from __future__ import annotations

import msgspec


class StoreError(Exception):
    """Root of the stores' errors."""


class StoreRefused(StoreError):
    """Redis is of the wrong kind; the message names the setting and the remedy."""


class StoreUnavailable(StoreError):
    """Redis did not answer in time or refused the write; nothing was promised."""


class StoreDamaged(StoreUnavailable):
    """A key holds something of another kind; a claim sets it aside."""


class Halted(StoreError):
    """Somebody stopped, edited, deleted or forgot what this turn answers; `kind` says which."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the turn was halted: {kind}")
        self.kind = kind


class StaleLease(StoreError):
    """The fence has moved on: this worker's late write was refused."""


# What reading stored bytes can raise; msgspec lets bytes that are no UTF-8 through as `ValueError`.
READ_ERRORS: tuple[type[Exception], ...] = (msgspec.MsgspecError, ValueError, RecursionError)
