"""Who looks at what every fake Slack sends, as the shapes of it are checked in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Told a frame of the socket (`socket`), a payload over HTTP (an envelope's type) or an answer
# (its method), and what was sent
WATCHERS: list[Callable[[str, Any], None]] = []


def watched(name: str, sent: Any) -> None:
    for watch in WATCHERS:
        watch(name, sent)
