"""No message of ours may unfold a link: seen over every test in which a twin runs (I2, I3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from bot.testing import previews
from bot.testing.previews import Fetch
from bot.testing.slack.web_api import WATCHERS

SENDS = frozenset({"chat.postEphemeral", "chat.postMessage", "chat.scheduleMessage", "chat.update"})
_NOT_OURS = ("test_slack_twin.py", "tests/testing/")  # talk to the twins by themselves


class Previews:
    """`careless` names the tests in which something was sent with previews or names linked."""

    def __init__(self) -> None:
        self.sends, self.careless = 0, set[str]()

    def watch(self, method: str, args: dict[str, Any]) -> None:
        test = _test()
        if method not in SENDS or not test:
            return
        self.sends += 1
        off = ("unfurl_links", "unfurl_media", "link_names")
        if any(args.get(each) is not False for each in off):
            self.careless.add(f"{method} in {test}")

    def watch_fetch(self, fetch: Fetch) -> None:
        """Any platform would have fetched something for its preview."""
        if test := _test():
            self.careless.add(f"{fetch.surface} unfolds {fetch.url} in {test}")


def _test() -> str:
    """The test at work; none for tests of a twin alone."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    return "" if any(each in test for each in _NOT_OURS) else test or "no test"


@pytest.fixture(scope="session", autouse=True)
def no_previews() -> Iterator[Previews]:
    """Fails the run's last test where any send of the run let a link unfold."""
    recorder = Previews()
    WATCHERS.append(recorder.watch)
    previews.WATCHERS.append(recorder.watch_fetch)
    yield recorder
    WATCHERS.remove(recorder.watch)
    previews.WATCHERS.remove(recorder.watch_fetch)
    assert not recorder.careless, f"of {recorder.sends} sends: {sorted(recorder.careless)}"
