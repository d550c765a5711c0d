from __future__ import annotations

import random
import re
import time
from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.mattermost_api import MattermostError
from adapters.chat.mattermost_reply import PENDING_KNOWN_S, MattermostReply, safe
from adapters.chat.types import DeliveryError, Draft, MayShow, NotOurs, ReplyFile, always
from tests.adapters.chat.mattermost_bot import Scene, scene

__all__ = ["scene"]

PIECES = ["@all", "@channel", "@here", "@alice", " ", "\n", "`", "**", "a@b.example", "(", ".", "é"]


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


async def test_parts_appear_once_and_in_order_whatever_is_cut_and_whoever_goes_on(
    scene: Scene,
) -> None:
    draw, rest = random.Random(7), scene.server.rest
    async with scene.listening() as adapter:
        for number in range(40):
            message = await scene.asked(f"question {number}")
            reply = adapter.reply(message)
            rest.pending_known_s = draw.choice([0.0, 30.0])
            for index in range(1, 4):
                tried_s_ago = None
                for _ in range(draw.randrange(3)):
                    getattr(rest, draw.choice(["cut_before", "cut_after"]))["POST posts"] = 1
                    with suppress(MattermostError):
                        await deliver(reply, index, number, tried_s_ago)
                    rest.cut_before.clear()
                    rest.cut_after.clear()
                    tried_s_ago = 1.0
                    reply = draw.choice([reply, adapter.reply(message)])
                await deliver(reply, index, number, tried_s_ago)

    parts = [f"part {index} of {number}" for number in range(40) for index in range(1, 4)]
    assert scene.server.replies(scene.general) == parts


async def deliver(
    reply: MattermostReply, index: int, number: int, tried_s_ago: float | None
) -> None:
    text, token = f"part {index} of {number}", f"t{number}-{index}"
    await reply.deliver(index, text, token=token, tried_s_ago=tried_s_ago)


async def test_a_reply_before_the_connection_can_be_tried_again(scene: Scene) -> None:
    async with scene.listening():
        message = await scene.asked()
    with pytest.raises(DeliveryError) as refused:
        await scene.adapter().reply(message).open(None)

    assert refused.value.retryable


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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_mentions_anybody(text: str) -> None:
    shown = safe(text)

    words = re.split(r"[^\w.@-]+", shown)  # as Mattermost looks for its keywords
    tried = {part for word in words for part in [word.strip("._-"), *re.split(r"[.-]", word)]}
    assert not tried & {"@all", "@channel", "@here", "@alice"}
    assert len(shown) <= len(text)
