"""What stands under and in an answer, and who says it where: buttons, tables, closed channels."""

from __future__ import annotations

from collections import deque

import pytest

from adapters.chat.slack_blocks import AGAIN, DOWN, UP
from adapters.chat.types import Message, Offers
from bot.testing.slack.web_api import Fault
from bot.testing.slack.world import ChannelKind, Posted, UserKind
from tests.adapters.chat.slack_bot import Bench, running

TABLE = "| Part | Price |\n|:--|--:|\n| Fan | 12 |"


async def question(bench: Bench, channel: str = "C1") -> Message:
    await bench.slack.say("U1", channel, "hello", mention_bot=True)
    return (await bench.heard())[-1]


async def answered(bench: Bench, text: str, *, again: bool = False, rating: bool = False) -> Posted:
    reply = bench.adapter.reply(await question(bench))
    await reply.open(None)
    place = await reply.deliver(0, text, token="t0", offers=Offers(again=again, rating=rating))
    await reply.aclose()
    return bench.slack.message(*place.split(":"))


def buttons(message: Posted) -> list[str]:
    return [
        element["action_id"]
        for block in message.sent["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    ]


@pytest.mark.parametrize(("action", "kind"), [(UP, "up"), (DOWN, "down")])
async def test_a_thumb_under_an_answer_tells_which_answer_it_is_about(
    action: str, kind: str
) -> None:
    async with running() as bench:
        bench.inbox.told = "Thank you."
        message = await answered(bench, "an answer", again=True, rating=True)
        run = await bench.slack.press("U1", "C1", message.ts, action)
        await bench.slack.wait_for(lambda: run.answers)
        [press] = bench.inbox.presses
        [asked] = bench.inbox.kept

    assert buttons(message) == [AGAIN, UP, DOWN]
    assert (press.kind, press.event_id, press.channel) == (kind, asked, "C1")
    assert run.answers == ["Thank you."]


async def test_thumbs_can_be_switched_off() -> None:
    async with running(feedback=False) as bench:
        message = await answered(bench, "an answer", rating=True)

    assert buttons(message) == []


async def test_a_final_answer_shows_its_table() -> None:
    async with running() as bench:
        message = await answered(bench, f"Prices:\n\n{TABLE}\n\nDone.")

    kinds = [each["type"] for each in message.sent["blocks"]]
    assert kinds == ["markdown", "table", "markdown"]
    assert message.text == "Prices:\n\nPart | Price\nFan | 12\n\nDone."


async def test_where_slack_takes_no_table_it_stays_text() -> None:
    async with running() as bench:
        bench.slack.web.faults["chat.update"] = deque([Fault("invalid_blocks")])
        message = await answered(bench, TABLE)

    assert message.text == TABLE


@pytest.mark.parametrize(
    ("event", "with_answer"),
    [("channel_deleted", True), ("channel_archive", False), ("group_archive", False)],
)
async def test_a_channel_that_closes_ends_what_waits_there(event: str, with_answer: bool) -> None:
    async with running() as bench:
        bench.slack.add_channel("C2")
        await question(bench)
        await question(bench, "C2")
        bench.slack.deliver({"type": event, "channel": "C1", "user": "U1"})
        await bench.quiet()
        ours = [each for each in bench.inbox.kept if each.startswith("C1:")]

    assert [event_id for *_, event_id in bench.inbox.retracted] == ours
    assert bench.inbox.with_answers == [with_answer]


@pytest.mark.parametrize(
    ("who", "where", "kind", "place"),
    [
        ("member", "private", "member", "private"),
        ("member", "mpim", "member", "private"),
        ("member", "ext_shared", "member", "external"),
        ("member", "pending_ext_shared", "member", "external"),
        ("member", "org_shared", "member", "public"),
        ("guest", "public", "guest", "public"),
        ("single_channel_guest", "private", "guest", "private"),
        ("external", "ext_shared", "external", "external"),
        ("external", "public", "external", "public"),
        ("colleague", "org_shared", "external", "public"),
    ],
)
async def test_people_and_places_of_grid_and_connect_have_their_class(
    who: UserKind, where: ChannelKind, kind: str, place: str
) -> None:
    async with running() as bench:
        bench.slack.add_user("U9", who)
        bench.slack.add_channel("C9", where)
        await bench.slack.say("U9", "C9", "hello", mention_bot=True)
        [message] = await bench.heard()

    assert (message.author.kind, message.conversation.place) == (kind, place)
