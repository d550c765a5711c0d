from __future__ import annotations

import asyncio
import time

import pytest

from adapters.chat.mattermost import MattermostAdapter
from adapters.chat.mattermost_api import MattermostApi
from adapters.chat.types import AdapterError, ChannelRule
from bot.mattermost import MattermostSection, diagnose
from tests.adapters.chat.mattermost_bot import Scene, scene

__all__ = ["scene"]


async def test_a_mention_is_a_question_of_its_own_thread_without_the_mention(scene: Scene) -> None:
    async with scene.listening():
        post_id = await scene.server.say(scene.alice, scene.general, "Hi", mention_bot=True)
        message = await scene.inbox.next()

    assert (message.text, message.addressing, message.event_id) == ("Hi", "mention", post_id)
    assert message.conversation.thread == post_id
    assert message.conversation.tenant == f"mattermost:{scene.server.world.team_id}"
    assert (message.author.user_id, message.author.kind) == ("alice", "member")


async def test_talk_among_people_programs_and_system_posts_is_not_for_the_bot(scene: Scene) -> None:
    other = scene.server.add_user("other", roles="system_user")
    async with scene.listening() as adapter:
        await scene.server.say(other, scene.general, "Lunch?")
        await scene.server.say(other, scene.general, "ask @firstline-admin or me@firstline")
        message = await scene.asked("And now?")
        await adapter.reply(message).deliver(0, "@firstline 42", token="t0")

    assert message.text == "And now?"
    assert scene.inbox.is_empty


async def test_a_thread_the_bot_answered_in_goes_on_without_a_mention(scene: Scene) -> None:
    async with scene.listening() as adapter:
        question = await scene.asked()
        await adapter.reply(question).deliver(0, "42", token="t0")
        await scene.server.say(scene.alice, scene.general, "Why?", root=question.event_id)
        message = await scene.inbox.next()

    assert (message.addressing, message.conversation) == ("followup", question.conversation)


async def test_a_channel_whose_rule_says_so_answers_mentions_only_and_without_a_thread(
    scene: Scene,
) -> None:
    scene.rule = ChannelRule(follow_ups=False, reply_in="channel")
    async with scene.listening() as adapter:
        question = await scene.asked()
        await adapter.reply(question).deliver(0, "42", token="t0")
        await scene.server.say(scene.alice, scene.general, "Why?", root=question.event_id)
        after = await scene.asked("Still there?")

    assert question.conversation.thread is None
    assert after.text == "Still there?"


async def test_a_guest_is_told_apart(scene: Scene) -> None:
    guest = scene.server.add_user("guest", roles="system_guest")
    async with scene.listening():
        await scene.server.say(guest, scene.general, "Hello", mention_bot=True)
        assert (await scene.inbox.next()).author.kind == "guest"


async def test_edits_and_deletions_are_passed_on(scene: Scene) -> None:
    async with scene.listening():
        question = await scene.asked("What is 6*7?")
        await scene.server.edit(question.event_id, "@firstline What is 6*8?")
        await scene.server.remove(question.event_id)
        await scene.server.wait_for(lambda: bool(scene.inbox.retracted))

    ((revised, edited_at),) = scene.inbox.revised
    assert (revised.text, revised.event_id) == ("What is 6*8?", question.event_id)
    assert edited_at >= question.sent_at
    assert scene.inbox.retracted == [
        ("mattermost", question.conversation.tenant, question.event_id)
    ]


async def test_what_was_said_while_the_socket_was_cut_is_read_afterwards(scene: Scene) -> None:
    async with scene.listening():
        await scene.asked("one")
        scene.inbox.heard_until = {
            f"mattermost:{scene.server.world.team_id}": {"": time.time() - 60}
        }
        scene.server.sockets.refuses = True
        await scene.server.cut_sockets()
        await scene.server.say(scene.alice, scene.general, "two", mention_bot=True)
        scene.server.sockets.refuses = False
        message = await scene.inbox.next()

    assert message.text == "two"


async def test_what_was_said_before_the_start_is_read_only_where_the_bot_was_heard(
    scene: Scene,
) -> None:
    await scene.server.say(scene.alice, scene.general, "missed", mention_bot=True)
    async with scene.listening():
        assert (await scene.asked("live")).text == "live"
    assert scene.inbox.is_empty

    scene.inbox.heard_until = {f"mattermost:{scene.server.world.team_id}": {"": time.time() - 60}}
    async with scene.listening():
        assert (await scene.inbox.next()).text == "missed"


async def test_a_store_that_is_away_for_a_moment_loses_nothing(scene: Scene) -> None:
    async with scene.listening():
        scene.inbox.down = True
        await scene.server.say(scene.alice, scene.general, "patience", mention_bot=True)
        await scene.server.wait_for(lambda: scene.server.rest.calls["GET users/{id}"] > 0)
        scene.inbox.down = False
        assert (await scene.inbox.next()).text == "patience"
    assert scene.server.replies(scene.general) == []


async def test_a_wrong_token_is_for_the_operator(scene: Scene) -> None:
    scene.server.world.token = "another"
    async with asyncio.timeout(5):
        with pytest.raises(AdapterError, match=r"mattermost\.token"):
            await MattermostAdapter(url=scene.server.url, token="wrong").run(scene.inbox)


async def test_doctor_tells_what_to_mend(scene: Scene) -> None:
    url, token = scene.server.url, scene.server.token
    fine = MattermostSection.model_validate({"url": url, "token": token})
    wrong = MattermostSection.model_validate({"url": url, "token": "wrong"})
    nowhere = MattermostSection.model_validate({"url": "http://127.0.0.1:9", "token": "t"})

    assert await diagnose(fine) == ("mattermost", True, "fine")
    assert (await diagnose(wrong))[1:] == (
        False,
        "set mattermost.token to the token of a bot account",
    )
    assert "check mattermost.url" in (await diagnose(nowhere))[2]
    assert await diagnose(MattermostSection()) == ("mattermost", True, "off (no token set)")


async def test_a_call_before_the_connection_is_refused() -> None:
    api = MattermostApi(url="http://127.0.0.1:9", token="t", calls_per_s=2)
    with pytest.raises(Exception, match="not connected"):
        await api.call("GET", "users/me")
