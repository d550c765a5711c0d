"""What can go wrong with an address a model chose.

WebError
├── WebRefused   it is not opened; `reason` is for the operator's log, never shown
└── WebFailed    it was opened, and gave nothing that can be read
"""

from __future__ import annotations


class WebError(Exception):
    """An address could not be read."""


class WebRefused(WebError):
    """By rule: nothing was sent to it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WebFailed(WebError):
    """The message is short and fit for the model."""
