"""No message of ours may unfold a link: seen over every test in which a fake Slack runs (I3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from bot.testing.slack.web_api import WATCHERS

SENDS = frozenset({"chat.postEphemeral", "chat.postMessage", "chat.scheduleMessage", "chat.update"})
_NOT_OURS = "test_slack_twin.py"  # talks to the twin by itself


class Previews:
    """`careless` names the tests in which something was sent with previews or names linked."""

    def __init__(self) -> None:
        self.sends, self.careless = 0, set[str]()

    def watch(self, method: str, args: dict[str, Any]) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        if method not in SENDS or _NOT_OURS in test:
            return
        self.sends += 1
        off = ("unfurl_links", "unfurl_media", "link_names")
        if any(args.get(each) is not False for each in off):
            self.careless.add(f"{method} in {test}")


@pytest.fixture(scope="session", autouse=True)
def no_previews() -> Iterator[Previews]:
    """Fails the run's last test where any send of the run let a link unfold."""
    previews = Previews()
    WATCHERS.append(previews.watch)
    yield previews
    WATCHERS.remove(previews.watch)
    assert not previews.careless, f"of {previews.sends} sends: {sorted(previews.careless)}"
