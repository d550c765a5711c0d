from __future__ import annotations

import asyncio
import logging
from collections import deque

import pytest

from adapters.chat.slack import SlackAdapter, diagnose
from adapters.chat.types import AdapterError, Receipt
from bot.testing.slack import SlackTwin
from bot.testing.slack.world import ChannelKind, UserKind
from tests.adapters.chat.slack_bot import RecordingInbox, adapter_for, running
from tools.identity import ConversationKey


async def test_a_mention_with_a_file_in_a_thread_becomes_one_message() -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", "C1", "my printer is broken")
        ts = await bench.slack.say(
            "U1",
            "C1",
            "what <is> this & that?",
            thread=root,
            files=[("error.png", b"\x89PNG")],
            mention_bot=True,
        )
        [message] = await bench.heard()

    assert message.event_id == message.message_id == f"C1:{ts}"
    assert message.conversation == ConversationKey("slack:T0TWIN", "public", "C1", root)
    assert message.text == "what <is> this & that?"
    assert (message.addressing, message.author.user_id) == ("mention", "U1")
    assert [(each.name, each.media_type, each.size_bytes) for each in message.attachments] == [
        ("error.png", "image/png", 4)
    ]


async def test_app_mention_and_message_are_one_message_handed_over_once() -> None:
    async with running() as bench:
        await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.quiet()

        told = [each.payload["event"]["type"] for each in bench.slack.socket.delivered]

    assert told == ["app_mention", "message"]
    assert [each.text for each in bench.inbox.seen] == ["hello"]


async def test_what_could_not_be_stored_the_first_time_is_taken_from_the_second_telling() -> None:
    async with running(RecordingInbox(refusals=1)) as bench:
        await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.heard()

    assert [each.text for each in bench.inbox.seen] == ["hello"]


async def test_a_direct_message_has_no_thread_unless_it_was_written_in_one() -> None:
    async with running() as bench:
        ts = await bench.slack.say("U1", "D1", "hello")
        await bench.slack.say("U1", "D1", "and?", thread=ts)
        messages = await bench.heard(2)

    keys = {each.text: each.conversation for each in messages}
    assert keys["hello"] == ConversationKey("slack:T0TWIN", "dm", "D1", None)
    assert keys["and?"].thread == ts
    assert {each.addressing for each in messages} == {"dm"}


async def test_a_follow_up_in_a_thread_needs_no_new_mention() -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.quiet()
        await bench.slack.say("U1", "C1", "and one more thing", thread=root)
        _, followup = await bench.heard(2)

    assert (followup.addressing, followup.conversation.thread) == ("followup", root)


async def test_what_is_said_to_somebody_else_in_its_thread_is_not_for_the_bot() -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.quiet()
        channel = bench.slack.world.channels["C1"]
        aside = {"user": "U1", "text": "<@U2> can you confirm?", "thread_ts": root}
        bench.slack.tell(channel, aside)
        await bench.quiet()

        assert len(bench.inbox.kept) == 1


async def test_a_restarted_bot_knows_its_threads_by_asking_slack() -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.quiet()
        second = adapter_for(bench.slack)
        inbox = RecordingInbox()
        task = asyncio.create_task(second.run(inbox))
        await bench.slack.wait_for(lambda: bench.slack.socket.connections == 2)
        for text in ("one", "two"):  # each connection takes one of them
            await bench.slack.say("U1", "C1", text, thread=root)
        await bench.quiet()
        task.cancel()
        await asyncio.wait((task,))

    assert [each.addressing for each in inbox.seen] == ["followup"]
    assert bench.slack.web.count("conversations.replies") == 1


@pytest.mark.malformed
async def test_talk_among_people_bots_and_the_bot_itself_is_left_alone() -> None:
    async with running() as bench:
        bench.slack.add_user("U9", "bot")
        root = await bench.slack.say("U1", "C1", "has anybody seen my keys?")
        await bench.slack.say("U1", "C1", "found them", thread=root)
        await bench.slack.say("U9", "C1", "build failed", mention_bot=True)
        bench.slack.deliver({"type": "team_join", "user": {"id": "U2"}})
        bench.slack.deliver({"type": "message"})
        await bench.quiet()

        assert bench.inbox.seen == []


@pytest.mark.parametrize("channel", ["public", "private", "ext_shared"])
@pytest.mark.parametrize("user", ["member", "guest", "external"])
async def test_person_and_place_are_classed_by_what_slack_says(
    user: UserKind, channel: ChannelKind
) -> None:
    async with running() as bench:
        bench.slack.add_user("U7", user)
        bench.slack.add_channel("C7", channel)
        await bench.slack.say("U7", "C7", "hello", mention_bot=True)
        [message] = await bench.heard()

    assert message.author.kind == user
    assert message.conversation.place == ("external" if channel == "ext_shared" else channel)


async def test_who_and_where_are_asked_once() -> None:
    async with running() as bench:
        for number in range(5):
            await bench.slack.say("U1", "D1", f"message {number}")
        await bench.heard(5)

        assert bench.slack.web.count("users.info") == 1
        assert bench.slack.web.count("conversations.info") == 1


async def test_an_event_that_could_not_be_stored_is_not_acked_and_comes_again() -> None:
    async with running(RecordingInbox(refusals=1)) as bench:
        bench.slack.socket.ack_timeout_s = 0.3
        ts = await bench.slack.say("U1", "D1", "hello")
        [message] = await bench.heard()
        await bench.quiet()

        assert message.event_id == f"D1:{ts}"
        assert bench.slack.socket.delivered[0].tries == 2


async def test_an_event_is_not_acked_while_slack_will_not_say_who_spoke() -> None:
    async with running() as bench:
        bench.slack.socket.ack_timeout_s = 0.3
        bench.slack.web.scripted_429["users.info"] = deque([1.0])
        await bench.slack.say("U1", "D1", "hello")
        await bench.heard()

        assert bench.slack.socket.delivered[0].tries == 2


async def test_the_bot_comes_back_when_slack_refreshes_the_connection() -> None:
    async with running() as bench:
        await bench.slack.socket.refresh()
        await bench.slack.wait_for(lambda: bench.slack.socket.connections == 2)
        await bench.slack.socket.connected()
        await bench.slack.say("U1", "D1", "still there?")

        assert len(await bench.heard()) == 1


async def test_the_bot_comes_back_when_the_connection_is_cut() -> None:
    async with running() as bench:
        await bench.slack.socket.cut()
        await bench.slack.say("U1", "D1", "still there?")

        await bench.slack.wait_for(lambda: len(bench.inbox.kept) == 1, timeout_s=20)


async def test_a_slash_command_is_answered_to_its_author_only() -> None:
    async with running() as bench:
        run = await bench.slack.command("U1", "C1", "/model", " phi ")

        assert run.answers == ["model &lt;set&gt; to phi"]
        [command] = bench.inbox.commands
        assert (command.name, command.argument) == ("model", "phi")
        assert command.conversation == ConversationKey("slack:T0TWIN", "public", "C1", None)
        assert bench.slack.messages("C1") == []


async def test_a_slow_command_is_acked_in_time_and_answered_later() -> None:
    async with running(RecordingInbox(slow_s=2.3)) as bench:
        run = await bench.slack.command("U1", "C1", "/reset")
        assert run.answers == []
        await bench.slack.wait_for(lambda: run.answers)


async def test_ask_becomes_an_ordinary_message() -> None:
    async with running() as bench:
        await bench.slack.command("U1", "D1", "/ask", "what is 2+2?")
        [message] = await bench.heard()
        empty = await bench.slack.command("U1", "D1", "/ask")

    assert (message.addressing, message.text) == ("command", "what is 2+2?")
    assert empty.answers == ["Ask me something: `/ask your question`."]


@pytest.mark.parametrize(
    ("answer", "told"), [(Receipt.DENIED, "questions from you"), (Receipt.FULL, "Too many")]
)
async def test_ask_says_why_a_question_is_not_taken(answer: Receipt, told: str) -> None:
    async with running(RecordingInbox(answer=answer)) as bench:
        run = await bench.slack.command("U1", "D1", "/ask", "what is 2+2?")

    assert [told in text for text in run.answers] == [True]


@pytest.mark.parametrize("wrong", ["bot", "app"])
async def test_a_wrong_token_ends_the_run_and_names_the_remedy(wrong: str) -> None:
    async with SlackTwin() as slack:
        adapter = SlackAdapter(
            bot_token="xoxb-wrong" if wrong == "bot" else slack.bot_token,
            app_token="xapp-wrong" if wrong == "app" else slack.app_token,
            api_url=slack.api_url,
        )
        with pytest.raises(AdapterError, match=rf"the {wrong} token was refused \(invalid_auth\)"):
            await adapter.run(RecordingInbox())


async def test_no_token_and_nothing_a_person_wrote_reaches_the_logs(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(RecordingInbox(refusals=1)) as bench:
        bench.slack.socket.ack_timeout_s = 0.3
        await bench.slack.say("U1", "D1", "canary text", files=[("canary.png", b"x")])
        [message] = await bench.heard()
        await bench.adapter.fetch(message.attachments[0], max_bytes=10)
        await bench.slack.command("U1", "D1", "/model", "canary argument")

    logged = caplog.text + "".join(capsys.readouterr())
    assert "slack.not_accepted" in logged
    for secret in ("canary", bench.slack.bot_token, bench.slack.app_token):
        assert secret not in logged


async def test_diagnose_names_missing_scopes_and_wrong_tokens() -> None:
    async with SlackTwin() as slack:
        good = await diagnose(
            bot_token=slack.bot_token, app_token=slack.app_token, api_url=slack.api_url
        )
        slack.scopes -= {"files:read"}
        bad = await diagnose(bot_token=slack.bot_token, app_token="xapp-no", api_url=slack.api_url)

    assert [(check, passed) for check, passed, _ in good] == [
        ("slack bot token", True),
        ("slack scopes", True),
        ("slack app token", True),
    ]
    assert [passed for _, passed, _ in bad] == [True, False, False]
    assert "add files:read" in bad[1][2]
    assert "invalid_auth" in bad[2][2]


async def test_a_look_that_was_under_way_does_not_hide_a_mention_that_came_meanwhile() -> None:
    async with running() as bench:
        root = await bench.slack.say("U1", "C1", "a talk among people")
        bench.slack.web.latency_s = 0.4
        await bench.slack.say("U1", "C1", "still among people", thread=root)
        await bench.slack.say("U1", "C1", "and you?", thread=root, mention_bot=True)
        await bench.quiet()
        bench.slack.web.latency_s = 0.0
        await bench.slack.say("U1", "C1", "go on", thread=root)
        messages = await bench.heard(2)

    assert [each.text for each in messages] == ["and you?", "go on"]
