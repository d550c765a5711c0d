"""Everything that any fake sends in any test has the shape that the platform's SDK expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bot.testing.discord.shapes import DiscordShapes
from bot.testing.discord.watching import WATCHERS
from bot.testing.slack import watching as slack_watching
from bot.testing.slack import web_api
from tests import slack_blocks, slack_shapes

_DISCORD = DiscordShapes()


@pytest.fixture(autouse=True)
def shapes_as_promised(request: pytest.FixtureRequest) -> Iterator[set[str]]:
    """Fails the test in which a twin sent something that no real platform would."""
    found = set[str]()

    def watch(name: str, sent: Any) -> None:
        found.update(_DISCORD.deviations(name, sent))

    def watch_slack(name: str, sent: Any) -> None:
        found.update(slack_shapes.deviations(name, sent))

    def watch_call(method: str, args: dict[str, Any]) -> None:
        found.update(slack_blocks.faults_of(method, args))

    WATCHERS.append(watch)
    web_api.WATCHERS.append(watch_call)
    slack_watching.WATCHERS.append(watch_slack)
    yield found
    WATCHERS.remove(watch)
    web_api.WATCHERS.remove(watch_call)
    slack_watching.WATCHERS.remove(watch_slack)
    if request.node.get_closest_marker("malformed") is None:
        assert not found, "\n".join(sorted(found))
