"""The Slack adapter's session: when it lives, and what ends it for good."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.chat.types import AdapterError
from bot.testing.slack import SlackTwin
from bot.testing.slack.methods import METHODS
from tests.adapters.chat.slack_bot import RecordingInbox, adapter_for, running


async def test_it_counts_as_connected_while_the_socket_lives() -> None:
    async with running() as bench:
        await bench.slack.wait_for(lambda: bench.adapter.connected)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(bench.slack.socket.cut())
            while bench.adapter.connected:  # noqa: ASYNC110 (it comes back within milliseconds)
                await asyncio.sleep(0)
        await bench.slack.wait_for(lambda: bench.adapter.connected, timeout_s=20)

    assert not bench.adapter.connected


@pytest.mark.malformed
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


async def test_a_worker_answers_fetches_and_removes_without_a_socket() -> None:
    async with SlackTwin() as slack:
        slack.add_user("U1")
        slack.add_channel("D1", "im")
        ts = await slack.say("U1", "D1", "look", files=[("a.txt", b"abc")])
        inbox, intake, worker = RecordingInbox(), adapter_for(slack), adapter_for(slack)
        listening = asyncio.create_task(intake.run(inbox))
        await slack.wait_for(lambda: inbox.kept)
        listening.cancel()
        await asyncio.wait((listening,))
        message = inbox.kept[f"D1:{ts}"]
        assert not worker.connected
        working = asyncio.create_task(worker.answer_only())
        await slack.wait_for(lambda: worker.connected)
        reply = worker.reply(message)
        placeholder = await reply.open(None)
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()
        assert slack.messages("D1") == ["look", "answer"]
        assert await worker.fetch(message.attachments[0], max_bytes=10) == b"abc"
        await worker.remove(message.conversation, [placeholder])
        working.cancel()
        await asyncio.wait((working,))

        assert slack.messages("D1") == ["look"]
        assert slack.socket.connections == 1
        assert not worker.connected


async def test_a_worker_with_a_wrong_token_ends_and_names_the_remedy() -> None:
    async with SlackTwin() as slack, asyncio.timeout(10):
        slack.bot_token = "xoxb-another"
        adapter = adapter_for(slack)
        slack.bot_token = "xoxb-twin-bot"
        with pytest.raises(AdapterError, match="the bot token was refused"):
            await adapter.answer_only()
