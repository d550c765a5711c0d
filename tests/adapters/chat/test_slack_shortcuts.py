from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.chat.shortcuts import (
    EMPTY,
    FULL,
    GONE,
    MOST_QUOTES,
    NO_IMAGE,
    NOT_HERE,
    NOT_TAKEN,
    SHORTCUTS,
)
from adapters.chat.slack_events import QUOTE_CHARS
from adapters.chat.slack_shortcuts import (
    ASK,
    DESCRIBE,
    SUMMARISE,
    callback_id,
)
from adapters.chat.types import Message, Quote, Receipt
from bot.testing.slack.views import Modal
from bot.testing.slack.world import Posted
from tests.adapters.chat.slack_bot import Bench, RecordingInbox, running
from tools.identity import ConversationKey

PNG = ("error.png", b"\x89PNG")


@contextlib.asynccontextmanager
async def people(inbox: RecordingInbox | None = None) -> AsyncIterator[Bench]:
    async with running(inbox) as bench:
        bench.slack.add_user("U2")
        bench.slack.add_user("U3")
        yield bench


async def asked(bench: Bench, ts: str, *, channel: str = "C1") -> Modal:
    run = await bench.slack.views.pick("U1", channel, ts, ASK)
    assert run.answers == []
    return bench.slack.views.modals[-1]


async def only(bench: Bench) -> Message:
    [message] = await bench.heard()
    return message


def test_the_names_fit_into_slacks_menu() -> None:
    assert all(len(each.name) <= 24 and len(each.description) <= 150 for each in SHORTCUTS)


async def test_describe_takes_the_images_of_the_message_and_answers_in_its_thread() -> None:
    async with people() as bench:
        files = [PNG, ("log.txt", b"crash")]
        ts = await bench.slack.say("U2", "C1", "see here", files=files)
        await bench.slack.views.pick("U1", "C1", ts, DESCRIBE)
        message = await only(bench)
        content = await bench.adapter.fetch(message.attachments[0], max_bytes=100)

    assert [each.name for each in message.attachments] == ["error.png"]
    assert content == PNG[1]
    assert message.text == "Describe this image."
    assert message.conversation == ConversationKey("slack:T0TWIN", "public", "C1", ts)
    assert (message.author.user_id, message.addressing) == ("U1", "command")
    assert message.message_id == f"C1:{ts}"


async def test_what_follows_in_the_thread_needs_no_mention() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "see here", files=[PNG])
        await bench.slack.views.pick("U1", "C1", ts, DESCRIBE)
        await bench.heard()
        await bench.slack.say("U1", "C1", "and the second line?", thread=ts)
        _, followup = await bench.heard(2)

    assert followup.addressing == "followup"


async def test_without_an_image_only_who_asked_is_told() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "no picture", files=[("log.txt", b"crash")])
        run = await bench.slack.views.pick("U1", "C1", ts, DESCRIBE)
        await bench.slack.wait_for(lambda: run.answers)

        assert run.answers == [NO_IMAGE]
        assert bench.inbox.kept == {}


async def test_summarise_quotes_the_thread_by_user_ids_from_a_message_within_it() -> None:
    async with people() as bench:
        root = await bench.slack.say("U2", "C1", "the printer <smokes>")
        inner = await bench.slack.say("U3", "C1", "unplug it", thread=root)
        await bench.slack.views.pick("U1", "C1", inner, SUMMARISE)
        message = await only(bench)

    assert message.conversation.thread == root
    assert message.quotes == (
        Quote("U2", "the printer <smokes>", float(root)),
        Quote("U3", "unplug it", float(inner)),
    )
    assert message.text.startswith("Summarise this thread")


async def test_of_a_long_thread_the_newest_hundred_are_quoted_and_each_is_cut() -> None:
    async with people() as bench:
        world = bench.slack.world
        root = await bench.slack.say("U2", "C1", "the root")
        for number in range(450):
            sent = {"text": f"{number} " + "x" * 2 * QUOTE_CHARS}
            world.add(Posted(world.new_ts(), "C1", "U2", sent, root))
        await bench.slack.views.pick("U1", "C1", root, SUMMARISE)
        message = await only(bench)

    numbers = [int(each.text.split()[0]) for each in message.quotes]
    assert numbers == list(range(450 - MOST_QUOTES, 450))
    assert all(len(each.text) <= QUOTE_CHARS for each in message.quotes)


async def test_ask_opens_a_modal_whose_question_quotes_the_message_as_it_reads_then() -> None:
    async with people() as bench:
        root = await bench.slack.say("U2", "C1", "a thread")
        ts = await bench.slack.say("U2", "C1", "old <text>", thread=root, files=[PNG])
        modal = await asked(bench, ts)
        bench.slack.edit("C1", ts, "new text")
        await bench.slack.views.submit(modal, " is that & right? ")
        message = await only(bench)

    excerpt = modal.view["blocks"][0]["text"]["text"]
    assert excerpt == "> old &lt;text&gt;"
    assert not modal.is_open
    assert message.text == "is that & right?"
    assert [each.text for each in message.quotes] == ["new text"]
    assert [each.name for each in message.attachments] == ["error.png"]
    assert message.conversation.thread == root


async def test_a_modal_sent_twice_is_one_question() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "hello")
        modal = await asked(bench, ts)
        await bench.slack.views.submit(modal, "why?")
        await bench.slack.views.submit(modal, "why?")

        assert not modal.is_open
        assert len(bench.inbox.kept) == 1


async def test_a_modal_without_a_question_stays_open() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "hello")
        modal = await asked(bench, ts)
        await bench.slack.views.submit(modal, "  ")

        assert modal.is_open
        assert list(modal.errors.values()) == [EMPTY]


async def test_a_message_deleted_meanwhile_can_not_be_asked_about() -> None:
    async with people() as bench:
        root = await bench.slack.say("U2", "C1", "a thread")
        ts = await bench.slack.say("U2", "C1", "hello", thread=root)
        modal = await asked(bench, ts)
        bench.slack.remove(bench.slack.message("C1", ts))
        await bench.slack.views.submit(modal, "why?")

        assert list(modal.errors.values()) == [GONE]
        assert bench.inbox.kept == {}


@pytest.mark.parametrize(
    ("receipt", "sentence"), [(Receipt.DENIED, NOT_TAKEN), (Receipt.FULL, FULL)]
)
async def test_a_refusal_is_told_in_private(receipt: Receipt, sentence: str) -> None:
    async with people(RecordingInbox(answer=receipt)) as bench:
        ts = await bench.slack.say("U2", "C1", "hello", files=[PNG])
        run = await bench.slack.views.pick("U1", "C1", ts, DESCRIBE)
        modal = await asked(bench, ts)
        await bench.slack.views.submit(modal, "why?")
        await bench.slack.wait_for(lambda: run.answers)

        assert run.answers == [sentence]
        assert list(modal.errors.values()) == [sentence]


async def test_where_the_bot_is_not_nothing_is_asked_and_the_person_told() -> None:
    async with people() as bench:
        bench.slack.add_channel("C2", with_bot=False)
        ts = await bench.slack.say("U2", "C2", "hello", files=[PNG])
        runs = [await bench.slack.views.pick("U1", "C2", ts, each) for each in kinds()]
        await bench.slack.wait_for(lambda: all(run.answers for run in runs))

        assert {answer for run in runs for answer in run.answers} == {NOT_HERE}
        assert bench.inbox.kept == {}
        assert bench.slack.views.modals == []


async def test_what_is_not_stored_is_not_acknowledged() -> None:
    async with people(RecordingInbox(refusals=1)) as bench:
        ts = await bench.slack.say("U2", "C1", "hello", files=[PNG])
        with pytest.raises(TimeoutError):
            await bench.slack.views.pick("U1", "C1", ts, DESCRIBE, timeout_s=0.5)
        sent = bench.slack.socket.delivered[-1]

        assert not sent.acked.is_set()
        assert bench.inbox.kept == {}


async def test_a_modal_that_could_not_be_stored_stays_and_can_be_sent_again() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "hello")
        modal = await asked(bench, ts)
        bench.inbox.refusals = 1
        await bench.slack.views.submit(modal, "why?")
        was_open = modal.is_open
        await bench.slack.views.submit(modal, "why?")

        assert was_open
        assert not modal.is_open
        assert len(bench.inbox.kept) == 1


async def test_a_trigger_that_died_is_told_to_who_waited() -> None:
    async with people() as bench:
        ts = await bench.slack.say("U2", "C1", "hello")
        bench.slack.views.triggers_live = False
        run = await bench.slack.views.pick("U1", "C1", ts, ASK)
        await bench.slack.wait_for(lambda: run.answers)

        assert run.answers == ["That took too long; please try again."]


def kinds() -> Iterator[str]:
    yield from (callback_id(each.kind) for each in SHORTCUTS)
