from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

import pytest

from adapters.chat.slack_blocks import PART_CHARS
from adapters.chat.slack_reply import PLACEHOLDER
from adapters.chat.splitting import split_markdown
from adapters.chat.types import Activity, DeliveryError, Draft, Message
from bot.testing.slack.world import Posted
from tests.adapters.chat.slack_bot import Bench, adapter_for, running


async def asked(bench: Bench, *, channel: str = "C1") -> Message:
    await bench.slack.say("U1", channel, "question", mention_bot=channel != "D1")
    return (await bench.heard())[0]


def _says(posted: Posted, text: str) -> bool:
    return posted.text == text


def ts_of(message_id: str) -> str:
    return message_id.partition(":")[2]


async def test_an_answer_grows_in_the_thread_and_ends_with_the_whole_text() -> None:
    async with running() as bench:
        bench.slack.web.limits["chat.update"] = (45, 60.0)
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = await reply.open(None)
        words = [f"word{number}" for number in range(300)]
        for count in range(1, len(words) + 1):
            reply.show(Draft(" ".join(words[:count])))
            await asyncio.sleep(0.003)
        await reply.deliver(0, " ".join(words), token="t0")
        await reply.aclose()

        texts = [edit.text for edit in bench.slack.edits_of(ts_of(placeholder))]
        assert texts[0] == PLACEHOLDER
        assert texts[-1] == " ".join(words)
        assert 5 < len(texts) <= 46
        assert all(texts[-1].startswith(text) for text in texts[1:])
        assert bench.slack.web.refused == {}
        assert bench.slack.messages("C1", message.conversation.thread)[1:] == [texts[-1]]


async def test_conversations_share_one_limit_and_final_texts_need_not_wait_for_it() -> None:
    async with running() as bench:
        bench.slack.web.limits["chat.update"] = (20, 60.0)
        adapter = adapter_for(bench.slack, updates_per_minute=20)
        for number in range(4):
            bench.slack.add_channel(f"C{number}")
            await bench.slack.say("U1", f"C{number}", "question", mention_bot=True)
        replies = [adapter.reply(message) for message in await bench.heard(4)]
        await asyncio.gather(*(reply.open(None) for reply in replies))
        for count in range(60):
            for reply in replies:
                reply.show(Draft("word " * count))
            await asyncio.sleep(0.005)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(reply.deliver(0, "answer", token="t") for reply in replies))

        assert asyncio.get_running_loop().time() - began < 2
        shown = [each.text for each in bench.slack.world.posted.values() if each.bot_id]
        assert shown == ["answer"] * 4
        assert bench.slack.web.refused == {}


async def test_what_is_being_done_is_shown_while_there_is_no_text() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        placeholder = ts_of(await reply.open(None))
        for draft, shown in (
            (Draft(status="Waiting for a free model"), "_Waiting for a free model_"),
            (Draft(activities=(Activity("calculate", "running"),)), "_Using calculate…_"),
            (Draft(activities=(Activity("look", "running"),)), "_Looking at the image…_"),
        ):
            reply.show(draft)
            posted = bench.slack.world.posted["C1", placeholder]
            await bench.slack.wait_for(partial(_says, posted, shown))
        await reply.aclose()


async def test_a_direct_message_is_answered_at_top_level() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench, channel="D1"))
        await reply.open(None)
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()

        assert bench.slack.messages("D1") == ["question", "answer"]


async def test_a_long_answer_arrives_whole_and_in_order() -> None:
    text = "\n".join(f"line {number} " + "x" * 80 for number in range(240))
    assert len(text) > 20_000
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        parts = split_markdown(text, bench.adapter.limits.part_chars)
        for index, part in enumerate(parts):
            await reply.deliver(index, part, token=f"t{index}")
        await reply.aclose()

        _, *answers = bench.slack.posted("C1", message.conversation.thread)
        assert "\n".join(each.text for each in answers) == text
        assert [each.metadata for each in answers] == [
            {"event_type": "firstline_part", "event_payload": {"token": f"t{index}"}}
            for index in range(len(parts))
        ]
        assert all(each.sent["unfurl_links"] is False for each in answers[1:])
        assert bench.slack.web.refused == {}


async def test_nobody_can_be_pinged_by_an_answer() -> None:
    text = "<!channel> <@U1> <!subteam^S1|x> <#C1|y> & `a < b` <!DOCTYPE html>"
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        await reply.deliver(0, text, token="t0")
        await reply.aclose()

        answer = bench.slack.posted("C1", message.conversation.thread)[1]
        assert answer.text == ("‹!channel> ‹@U1> ‹!subteam^S1|x> ‹#C1|y> & `a < b` <!DOCTYPE html>")
        assert "<" not in answer.sent["text"]
        assert (answer.sent["parse"], answer.sent["link_names"]) == ("none", False)


async def test_a_full_part_of_mentions_still_fits() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        await reply.open(None)
        await reply.deliver(0, "<!here>" * (PART_CHARS // 7), token="t0")
        await reply.aclose()

        assert bench.slack.web.refused == {}


@pytest.mark.parametrize("index", [0, 1])
async def test_a_connection_cut_after_acceptance_posts_nothing_twice(index: int) -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        if index:
            await reply.open(None)
        bench.slack.web.cut_after["chat.postMessage"] = 1
        message_id = await reply.deliver(index, "part", token="t")
        await reply.aclose()

        answers = bench.slack.posted("C1", message.conversation.thread)[1:]
        assert [each.text for each in answers].count("part") == 1
        assert ts_of(message_id) == answers[-1].ts


async def test_a_restarted_bot_adopts_the_placeholder_and_a_part_already_sent() -> None:
    async with running() as bench:
        message = await asked(bench)
        died = bench.adapter.reply(message)
        placeholder = await died.open(None)
        second = await died.deliver(1, "second", token="t1")
        await died.aclose()

        reply = bench.adapter.reply(message)
        assert await reply.open(placeholder) == placeholder
        assert await reply.deliver(0, "first", token="t0") == placeholder
        assert await reply.deliver(1, "second", token="t1", tried_s_ago=0) == second
        await reply.aclose()
        answers = bench.slack.messages("C1", message.conversation.thread)[1:]
        assert answers == ["first", "second"]


async def test_a_placeholder_somebody_deleted_is_posted_anew() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        placeholder = await reply.open(None)
        bench.slack.remove(bench.slack.world.posted["C1", ts_of(placeholder)])
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()

        assert bench.slack.messages("C1", message.conversation.thread)[1:] == ["answer"]


async def test_a_final_text_waits_out_a_429_and_no_call_comes_too_early() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        bench.slack.web.scripted_429["chat.update"] = deque([1.0])
        began = asyncio.get_running_loop().time()
        await reply.deliver(0, "answer", token="t0")
        await reply.aclose()

        assert asyncio.get_running_loop().time() - began >= 1.0
        assert bench.slack.web.refused["chat.update:ratelimited"] == 1
        assert bench.slack.messages("C1", message.conversation.thread)[1:] == ["answer"]


async def test_a_wait_of_more_than_a_minute_is_given_back() -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await asked(bench))
        bench.slack.web.scripted_429["chat.postMessage"] = deque([600.0])
        with pytest.raises(DeliveryError) as caught:
            await reply.open(None)
        await reply.aclose()

    assert caught.value.retryable


async def test_a_gateway_error_may_be_tried_again() -> None:
    async with running() as bench:
        message = await asked(bench)
        reply = bench.adapter.reply(message)
        await reply.open(None)
        bench.slack.web.scripted_http["chat.postMessage"] = deque([503])
        with pytest.raises(DeliveryError) as caught:
            await reply.deliver(1, "part", token="t")
        await reply.deliver(1, "part", token="t")
        await reply.aclose()

        assert caught.value.retryable
        texts = bench.slack.messages("C1", message.conversation.thread)
        assert texts.count("part") == 1


async def test_a_channel_without_the_bot_is_a_lasting_fault_with_a_remedy() -> None:
    async with running() as bench:
        bench.slack.add_channel("C2", with_bot=False)
        await bench.slack.say("U1", "C2", "hello", mention_bot=True)
        [message] = await bench.heard()
        with pytest.raises(DeliveryError, match="invite the bot") as caught:
            await bench.adapter.reply(message).open(None)

    assert not caught.value.retryable
