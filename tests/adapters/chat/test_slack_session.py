"""The Slack adapter's session: when it lives, and what ends it for good."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.chat.types import AdapterError
from tests.adapters.chat.slack_bot import RecordingInbox, adapter_for, running
from tests.twins.slack import SlackTwin
from tests.twins.slack.methods import METHODS


async def test_it_counts_as_connected_while_the_socket_lives() -> None:
    async with running() as bench:
        await bench.slack.wait_for(lambda: bench.adapter.connected)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(bench.slack.socket.cut())
            while bench.adapter.connected:  # noqa: ASYNC110 (it comes back within milliseconds)
                await asyncio.sleep(0)
        await bench.slack.wait_for(lambda: bench.adapter.connected, timeout_s=20)

    assert not bench.adapter.connected


@pytest.mark.parametrize(
    ("method", "field"),
    [("auth.test", "team_id"), ("auth.test", "user_id"), ("apps.connections.open", "url")],
)
async def test_an_answer_that_lacks_what_is_needed_is_one_clear_error(
    method: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = METHODS[method]

    def partial(twin: SlackTwin, args: dict[str, Any]) -> Mapping[str, Any]:
        return {key: value for key, value in whole(twin, args).items() if key != field}

    monkeypatch.setitem(METHODS, method, partial)
    async with SlackTwin() as slack, asyncio.timeout(10):
        with pytest.raises(AdapterError, match=rf"slack: the answer to {method} has no {field};"):
            await adapter_for(slack).run(RecordingInbox())
