"""Every code of Slack's and every broken answer, through the real adapter over a socket (D4)."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.chat.slack_errors import ERRORS, meaning_of
from adapters.chat.types import DeliveryError, Message, ReplyStream
from bot.testing.slack.web_api import Fault
from tests.adapters.chat.slack_bot import Bench, running

PASSING = sorted(code for code, each in ERRORS.items() if each.passes and code[:5] != "http_")
FINAL = sorted(code for code, each in ERRORS.items() if not each.passes and code[:5] != "http_")
TOLD = sorted(code for code in FINAL if meaning_of(code).remedy)
TOO_FAST = {"ratelimited", "rate_limited"}
BROKEN = {
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "500 with a word": Fault("internal_error", status=500),
    "408": Fault(status=408),
    "a page with 200": Fault(),
    "cut JSON": Fault(body='{"ok": tru', content_type="application/json"),
    "plain text": Fault(body="upstream", content_type="text/plain"),
    "a list": Fault(body="[1]", content_type="application/json"),
    "a number": Fault(body="1", content_type="application/json"),
    "nothing": Fault(body="", content_type="application/json"),
    "no error named": Fault(body='{"ok": false}', content_type="application/json"),
}


def fault(code: str) -> Fault:
    return Fault(code, headers={"Retry-After": "0"} if code in TOO_FAST else {})


async def question(bench: Bench) -> Message:
    await bench.slack.say("U1", "C1", "hello", mention_bot=True)
    return (await bench.heard())[0]


async def opened(bench: Bench) -> ReplyStream:
    reply = bench.adapter.reply(await question(bench))
    await reply.open(None)
    return reply


def script(bench: Bench, method: str, *faults: Fault) -> None:
    bench.slack.web.faults[method] = deque(faults)


def tellings(logs: list[Any]) -> list[Any]:
    return [each for each in logs if each["event"] in ("slack.refused", "slack.token_refused")]


@pytest.mark.parametrize("code", PASSING)
async def test_what_passes_is_tried_again_and_nobody_is_told(code: str) -> None:
    async with running() as bench:
        reply = await opened(bench)
        script(bench, "chat.update", fault(code))
        with capture_logs() as logs:
            message_id = await reply.deliver(0, "an answer", token="t0")
        shown = bench.slack.message(*message_id.split(":")).text

    assert shown == "an answer"
    assert bench.slack.web.count("chat.update") == 2
    assert tellings(logs) == []


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_no_answer_and_the_edit_is_made_again(name: str) -> None:
    async with running() as bench:
        reply = await opened(bench)
        script(bench, "chat.update", BROKEN[name])
        message_id = await reply.deliver(0, "an answer", token="t0")

        assert bench.slack.message(*message_id.split(":")).text == "an answer"


@pytest.mark.parametrize("name", [*BROKEN, "fatal_error", "internal_error"])
async def test_a_post_whose_answer_is_broken_is_not_blindly_repeated(name: str) -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await question(bench))
        script(bench, "chat.postMessage", BROKEN.get(name) or Fault(name))
        with pytest.raises(DeliveryError) as caught:
            await reply.open(None)
        looked = bench.slack.web.count("conversations.replies")

    assert caught.value.retryable
    assert bench.slack.web.count("chat.postMessage") == 1
    assert looked == 1


@pytest.mark.parametrize("code", [*FINAL, "a_code_that_nobody_knows"])
async def test_what_is_final_is_tried_once_and_the_operator_told_once(code: str) -> None:
    async with running() as bench:
        replies = [bench.adapter.reply(await question(bench)) for _ in range(2)]
        script(bench, "chat.postMessage", Fault(code), Fault(code))
        with capture_logs() as logs:
            for reply in replies:
                with pytest.raises(DeliveryError) as caught:
                    await reply.open(None)
                assert not caught.value.retryable

        assert bench.slack.world.posted_by_bot() == []
    told = tellings(logs)
    assert len(told) == (1 if code in TOLD else 0)
    assert all(each["error"] == code and each["remedy"] for each in told)


@pytest.mark.parametrize(("status", "what"), [(403, "way out"), (404, "api_url")])
async def test_a_refusal_by_something_that_is_not_slack_names_where_to_look(
    status: int, what: str
) -> None:
    async with running() as bench:
        reply = bench.adapter.reply(await question(bench))
        script(bench, "chat.postMessage", Fault(status=status))
        with capture_logs() as logs, pytest.raises(DeliveryError) as caught:
            await reply.open(None)

    assert not caught.value.retryable
    assert what in tellings(logs)[0]["remedy"]


async def test_after_five_tries_it_is_given_back() -> None:
    async with running() as bench:
        reply = await opened(bench)
        script(bench, "chat.update", *[Fault("service_unavailable")] * 9)
        with pytest.raises(DeliveryError) as caught:
            await reply.deliver(0, "an answer", token="t0")

    assert caught.value.retryable
    assert bench.slack.web.count("chat.update") == 5


async def test_another_channel_with_the_same_fault_is_told_of_too() -> None:
    async with running() as bench:
        bench.slack.add_channel("C2")
        with capture_logs() as logs:
            for count, channel in enumerate(("C1", "C2"), 1):
                await bench.slack.say("U1", channel, "hello", mention_bot=True)
                message = (await bench.heard(count))[-1]
                script(bench, "chat.postMessage", Fault("is_archived"))
                with pytest.raises(DeliveryError):
                    await bench.adapter.reply(message).open(None)

    assert [each["channel"] for each in tellings(logs)] == ["C1", "C2"]


def test_the_table_has_the_rows_that_matter() -> None:
    assert len(ERRORS) + len(BROKEN) >= 60
    assert not any(each.passes and each.sentence for each in ERRORS.values())


@pytest.mark.parametrize("code", ["thread_not_found", "cannot_reply_to_message"])
@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update"])
async def test_a_reply_whose_thread_vanished_is_not_posted_in_the_channel(
    code: str, method: str
) -> None:
    async with running() as bench:
        message = await question(bench)
        reply = bench.adapter.reply(message)
        if method == "chat.update":
            await reply.open(None)
        script(bench, method, Fault(code))
        with pytest.raises(DeliveryError) as caught:
            await reply.deliver(0, "an answer", token="t0")
        posts = [args for _, each, args in bench.slack.web.calls if each == "chat.postMessage"]

    assert not caught.value.retryable
    assert all(args.get("thread_ts") == message.conversation.thread for args in posts)


async def test_a_reply_that_slack_puts_into_the_channel_all_the_same_is_taken_away() -> None:
    async with running() as bench:
        message = await question(bench)
        bench.slack.world.surfaces_orphans = True
        bench.slack.remove(bench.slack.message("C1", str(message.conversation.thread)))
        reply = bench.adapter.reply(message)
        with pytest.raises(DeliveryError) as caught:
            await reply.open(None)

        assert bench.slack.world.posted_by_bot() == []
    assert not caught.value.retryable
