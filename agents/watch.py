"""Watches a generation for endless and repeating text."""

from __future__ import annotations

import zlib

_MAX_CHARS = 64 * 1024  # of one generation; reliability row E3, like the two lines below
_REPEAT_WINDOW = 2048
_REPEAT_RATIO = 0.1
_REPEAT_EVERY = 512  # characters between two looks


class Watch:
    """Tells when a generation has gone on for long enough."""

    def __init__(self) -> None:
        self._size = self._looked_at = 0
        self._newest = ""

    def is_enough(self, text: str) -> bool:
        """Over the bound, or the newest 2 KiB say one thing over and over."""
        self._size += len(text)
        self._newest += text
        if self._size > _MAX_CHARS:
            return True
        if self._size < max(_REPEAT_WINDOW, self._looked_at + _REPEAT_EVERY):
            return False
        self._looked_at = self._size
        self._newest = self._newest[-_REPEAT_WINDOW:]
        newest = self._newest.encode(errors="replace")
        return len(zlib.compress(newest, 1)) < _REPEAT_RATIO * len(newest)
