"""Files into Slack threads: found again after a lost answer, and refused with the reason."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from adapters.chat.slack_api import SlackCallError
from adapters.chat.types import DeliveryError, ReplyFile
from tests.adapters.chat.slack_bot import Bench, adapter_for, running
from tests.adapters.chat.test_slack_outbox import LANDS_AFTER_S, SETTLE_S, asked

FILE = ReplyFile("answer.md", b"# All of it\n", "The whole answer.")
SHARE = "files.completeUploadExternal"


def shared(bench: Bench) -> list[tuple[str, str]]:
    """Text and title of every message of the bot's with a file."""
    ours = [each for each in bench.slack.world.posted.values() if each.files]
    return [(each.text, file["title"]) for each in ours for file in each.files]


async def test_a_share_that_lands_after_its_process_died_is_not_repeated() -> None:
    async with running() as bench:
        message = await asked(bench)
        died = bench.adapter.reply(message)
        placeholder = await died.open(None)
        await died.deliver(0, "It is long.", token="t0")
        bench.slack.web.lands_late[SHARE] = deque([LANDS_AFTER_S])
        task = asyncio.ensure_future(died.attach(1, FILE, token="t1"))
        await bench.slack.wait_for(lambda: not bench.slack.web.lands_late[SHARE])
        task.cancel()
        await asyncio.wait((task,))
        reply = adapter_for(bench.slack, settle_s=SETTLE_S).reply(message)
        await reply.open(placeholder, again=True)
        await reply.attach(1, FILE, token="t1", tried_s_ago=0.1)
        await reply.aclose()

        assert shared(bench) == [("The whole answer.", "answer.md")]
        assert bench.slack.web.count(SHARE) == 1


async def test_a_share_whose_answer_is_lost_is_found_and_not_repeated() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        bench.slack.web.cut_after[SHARE] = 1
        spot = await reply.attach(1, FILE, token="t1")
        await reply.aclose()

        [(channel, ts)] = [key for key, each in bench.slack.world.posted.items() if each.files]
        assert spot.startswith(f"{channel}:{ts}:F")
        assert bench.slack.web.count(SHARE) == 1


async def test_an_upload_that_broke_off_before_the_share_begins_anew() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        bench.slack.web.scripted_http["files.getUploadURLExternal"] = deque([503])
        with pytest.raises(DeliveryError) as away:
            await reply.attach(1, FILE, token="t1")
        assert away.value.retryable
        await reply.attach(1, FILE, token="t1", tried_s_ago=0.0)
        await reply.aclose()

        assert shared(bench) == [("The whole answer.", "answer.md")]


async def test_an_app_without_the_scope_is_refused_by_name() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        bench.slack.scopes -= {"files:write"}
        with pytest.raises(SlackCallError, match="add the scope files:write") as refused:
            await reply.attach(1, FILE, token="t1")
        await reply.aclose()

        assert not refused.value.retryable
        assert shared(bench) == []
