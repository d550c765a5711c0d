"""A shortcut, thumbs and an archived channel, through the whole bot."""

from __future__ import annotations

from pathlib import Path

from adapters.chat.slack_blocks import DOWN, UP
from adapters.chat.slack_shortcuts import ASK
from tests.end_to_end.test_changes import Scene, scene


def actions(scene: Scene, thread: str) -> list[str]:
    blocks = [block for each in scene.replies(thread) for block in each.sent["blocks"]]
    return [each["action_id"] for block in blocks for each in block.get("elements", ())]


async def test_a_question_by_shortcut_is_answered_rated_and_stays_in_an_archive(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as on:
        on.slack.add_user("U2")
        thread = await on.slack.say("U2", "C1", "The printer smokes.")
        await on.slack.views.pick("U1", "C1", thread, ASK)
        await on.slack.wait_for(lambda: on.slack.views.modals)
        [modal] = on.slack.views.modals
        await on.slack.views.submit(modal, "Is that normal?")
        answer = await on.reply(thread, "And that is all.")
        await on.slack.wait_for(lambda: UP in actions(on, thread))  # the text grows first
        offered = actions(on, thread)
        run = await on.slack.press("U1", "C1", answer.ts, UP)
        await on.slack.wait_for(lambda: run.answers)
        sent = on.slack.deliver({"type": "channel_archive", "channel": "C1", "user": "U2"})
        await on.slack.wait_for(lambda: sent.acked.is_set())
        await on.ask("What is left?")
        await on.slack.wait_for(lambda: len(on.slack.world.posted_by_bot()) > 1)

        assert "Is that normal?" in answer.text
        assert offered == [UP, DOWN]
        assert on.replies(thread) == [answer]
        assert all("<" not in each for each in run.answers)
