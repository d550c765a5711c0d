"""What every chat adapter promises, on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.chat.types import Activity, AttachmentError, ChatAdapter, Draft
from tests.contracts.chat import ADAPTERS, Person, RecordingInbox

Setup = tuple[ChatAdapter, Person, RecordingInbox]
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture(params=sorted(ADAPTERS))
async def chat(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    inbox = RecordingInbox()
    async with ADAPTERS[request.param](tmp_path, inbox) as (adapter, person):
        yield adapter, person, inbox


async def test_a_message_reaches_the_inbox_whole(chat: Setup) -> None:
    adapter, person, inbox = chat

    await person.say("Hello, wörld 👋🏽")
    message = await inbox.next()

    assert (message.text, message.adapter) == ("Hello, wörld 👋🏽", adapter.name)
    assert message.event_id
    assert message.author.user_id
    assert message.sent_at > 0


async def test_each_message_has_an_event_id_of_its_own_in_one_conversation(chat: Setup) -> None:
    adapter, person, inbox = chat

    await person.say("one")
    first = await inbox.next()
    reply = adapter.reply(first)
    await reply.deliver(0, "yes", token="t0")
    await reply.aclose()
    await person.say("two")
    second = await inbox.next()

    assert first.event_id != second.event_id
    assert first.conversation == second.conversation


async def test_a_message_that_could_not_be_stored_is_told(chat: Setup) -> None:
    _, person, inbox = chat
    inbox.down = True

    await person.say("hello?")

    assert "again" in await person.told()
    assert inbox.is_empty


async def test_after_drafts_the_person_sees_exactly_the_final_text(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("What is 17*23?")
    reply = adapter.reply(await inbox.next())

    await reply.open(None)
    reply.show(Draft(status="planning"))
    reply.show(Draft(activities=(Activity("calculate", "running", "17*23"),)))
    done = (Activity("calculate", "done", "17*23 → 391"),)
    reply.show(Draft("The ans", done))
    reply.show(Draft("The answer is", done))
    await reply.deliver(0, "The answer is 391.\nAnything else?", token="t0")
    await reply.aclose()

    assert await person.texts_of_last_reply() == ["The answer is 391.\nAnything else?"]


async def test_a_final_text_unlike_its_drafts_replaces_them(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("Well?")
    reply = adapter.reply(await inbox.next())

    await reply.open(None)
    reply.show(Draft("It is certa"))
    await reply.deliver(0, "I could not find out.", token="t0")
    await reply.aclose()

    assert await person.texts_of_last_reply() == ["I could not find out."]


async def test_a_placeholder_of_an_earlier_process_is_adopted(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("Still there?")
    message = await inbox.next()
    before = adapter.reply(message)
    placeholder = await before.open(None)
    await before.aclose()

    reply = adapter.reply(message)

    assert await reply.open(placeholder) == placeholder
    await reply.deliver(0, "Yes.", token="t0")
    await reply.aclose()
    assert await person.texts_of_last_reply() == ["Yes."]


async def test_a_part_delivered_twice_is_shown_once(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("Once?")
    reply = adapter.reply(await inbox.next())

    await reply.open(None)
    first = await reply.deliver(0, "Once.", token="t0")

    assert await reply.deliver(0, "Once.", token="t0") == first
    await reply.aclose()
    assert await person.texts_of_last_reply() == ["Once."]


async def test_a_long_text_in_parts_arrives_whole_and_in_order(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("Tell me everything.")
    reply = adapter.reply(await inbox.next())
    parts = [" ".join(f"word{part}-{n}" for n in range(120)) for part in range(3)]

    await reply.open(None)
    ids = [await reply.deliver(index, part, token=f"t{index}") for index, part in enumerate(parts)]
    await reply.aclose()

    assert len(set(ids)) == 3
    assert "".join(await person.texts_of_last_reply()).split("\n") in (
        parts,
        ["".join(parts)],
    )


async def test_fetch_gives_the_exact_bytes(chat: Setup) -> None:
    adapter, person, inbox = chat

    await person.say("What is this?", [("pixel.png", PIXEL)])
    (attachment,) = (await inbox.next()).attachments

    assert (attachment.name, attachment.size_bytes) == ("pixel.png", len(PIXEL))
    assert attachment.media_type == "image/png"
    assert await adapter.fetch(attachment, max_bytes=len(PIXEL)) == PIXEL


async def test_a_file_over_the_limit_is_refused_in_one_sentence(chat: Setup) -> None:
    adapter, person, inbox = chat
    await person.say("What is this?", [("pixel.png", PIXEL)])
    (attachment,) = (await inbox.next()).attachments

    with pytest.raises(AttachmentError, match="limit"):
        await adapter.fetch(attachment, max_bytes=len(PIXEL) - 1)
