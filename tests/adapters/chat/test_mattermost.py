from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.mattermost import MattermostAdapter
from adapters.chat.mattermost_api import MattermostApi, MattermostError
from adapters.chat.mattermost_reply import PENDING_KNOWN_S, safe
from adapters.chat.types import (
    AdapterError,
    ChannelRule,
    Draft,
    MayShow,
    Message,
    NotOurs,
    ReplyFile,
    always,
)
from bot.mattermost import MattermostSection, diagnose
from bot.testing.mattermost import MattermostTwin
from tests.contracts.chat import RecordingInbox, running

PIECES = ["@all", "@channel", "@here", "@alice", " ", "\n", "`", "**", "a@b.example", "(", ".", "é"]


class Scene:
    """A server with Alice in a channel, and the adapter that listens there."""

    def __init__(self, server: MattermostTwin) -> None:
        self.server, self.inbox = server, RecordingInbox()
        self.alice, self.general = server.add_user("alice"), server.add_channel("general")
        self.rule = ChannelRule()

    def adapter(self) -> MattermostAdapter:
        return MattermostAdapter(
            url=self.server.url,
            token=self.server.token,
            calls_per_s=100,
            retry_for_s=2.0,
            reconnect_s=0.05,
            rules=lambda _: self.rule,
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[MattermostAdapter]:
        adapter = self.adapter()
        async with running(adapter, self.inbox):
            await self.server.sockets.connected()
            yield adapter

    async def asked(self, text: str = "What is 6*7?") -> Message:
        await self.server.say(self.alice, self.general, text, mention_bot=True)
        return await self.inbox.next()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with MattermostTwin() as server:
        yield Scene(server)


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
    scene.inbox.heard_until = {f"mattermost:{scene.server.world.team_id}": {"": time.time() - 60}}
    async with scene.listening():
        await scene.asked("one")
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


async def test_a_part_whose_answer_was_cut_off_is_posted_once(scene: Scene) -> None:
    async with scene.listening() as adapter:
        message = await scene.asked()
        reply = adapter.reply(message)
        await reply.open(None)
        scene.server.rest.cut_after["POST posts"] = 1
        with pytest.raises(MattermostError) as refused:
            await reply.deliver(1, "part", token="t1")
        assert refused.value.retryable
        await reply.deliver(1, "part", token="t1", tried_s_ago=1.0)

    assert scene.server.replies(scene.general) == ["_Thinking…_", "part"]


async def test_another_process_finds_the_part_long_after_the_server_forgot_it(scene: Scene) -> None:
    scene.server.rest.pending_known_s = 0.0
    async with scene.listening() as adapter:
        message = await scene.asked()
        first = await adapter.reply(message).deliver(1, "part", token="t1")
        later = adapter.reply(message)
        again = await later.deliver(1, "part", token="t1", tried_s_ago=PENDING_KNOWN_S)
        placeholder = await later.open(None)
        assert await adapter.reply(message).open(None, again=True) == placeholder

    assert again == first
    assert len(scene.server.posts(scene.general)) == 2


async def test_a_placeholder_somebody_deleted_is_posted_anew(scene: Scene) -> None:
    async with scene.listening() as adapter:
        reply = adapter.reply(await scene.asked())
        await scene.server.remove(await reply.open(None))
        await reply.deliver(0, "42", token="t0")

    assert scene.server.replies(scene.general) == ["42"]


async def test_a_call_refused_for_speed_waits_as_long_as_the_server_says(scene: Scene) -> None:
    scene.server.rest.scripted_429["POST posts"] = deque([1])
    async with scene.listening() as adapter:
        message = await scene.asked()
        began = time.monotonic()
        await adapter.reply(message).deliver(0, "42", token="t0")

    assert 0.9 < time.monotonic() - began < 3
    assert scene.server.replies(scene.general) == ["42"]


async def test_nothing_is_sent_of_a_reply_that_is_not_ours_any_more(scene: Scene) -> None:
    ours: MayShow = always
    async with scene.listening() as adapter:
        message = await scene.asked()
        reply = adapter.reply(message, may_show=lambda: ours())
        await reply.open(None)
        ours = lambda: False  # noqa: E731
        reply.show(Draft("late"))
        with pytest.raises(NotOurs):
            await reply.deliver(0, "late", token="t0")
        with pytest.raises(NotOurs):
            await reply.attach(1, ReplyFile("a.md", b"late", "A file."), token="t1")
        await reply.aclose()

    assert scene.server.replies(scene.general) == ["_Thinking…_"]
    assert scene.server.rest.uploaded == []


async def test_a_file_arrives_once_with_its_sentence(scene: Scene) -> None:
    file = ReplyFile("answer.md", b"# All\n", "The whole answer.")
    async with scene.listening() as adapter:
        message = await scene.asked()
        first = await adapter.reply(message).attach(1, file, token="t1")
        assert await adapter.reply(message).attach(1, file, token="t1", tried_s_ago=60) == first

    (post,) = scene.server.posts(scene.general)
    assert (post["message"], len(post["file_ids"])) == ("The whole answer.", 1)
    assert scene.server.world.files[post["file_ids"][0]][1] == b"# All\n"


async def test_all_of_a_reply_can_be_taken_away(scene: Scene) -> None:
    async with scene.listening() as adapter:
        message = await scene.asked()
        reply = adapter.reply(message)
        await reply.open(None)
        ids = [await reply.deliver(index, f"part {index}", token=f"t{index}") for index in range(3)]
        await reply.remove()
        await adapter.remove(message.conversation, ids)

    assert scene.server.replies(scene.general) == []


async def test_previews_and_pictures_are_off_in_every_post(scene: Scene) -> None:
    async with scene.listening() as adapter:
        message = await scene.asked()
        text = "![a](https://a.example/x.png) and `![kept]`"
        await adapter.reply(message).deliver(0, text, token="t0")

    (post,) = scene.server.posts(scene.general)
    assert post["props"]["unsafe_links"] == "true"
    assert post["message"] == "[a](https://a.example/x.png) and `![kept]`"


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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_mentions_anybody(text: str) -> None:
    shown = safe(text)

    words = re.split(r"[^\w.@-]+", shown)  # as Mattermost looks for its keywords
    tried = {part for word in words for part in [word.strip("._-"), *re.split(r"[.-]", word)]}
    assert not tried & {"@all", "@channel", "@here", "@alice"}
    assert len(shown) <= len(text)
