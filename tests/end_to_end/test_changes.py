"""Stop, edit, delete and an outage, as a person in Slack does and sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.models.scripted import Reply, Step
from adapters.models.scripted_server import ScriptedServer
from agents.ports import ModelRequest
from bot.testing.slack import SlackTwin
from bot.testing.slack.world import Posted
from tests.end_to_end.bot_process import BotProcess, bot_process
from tests.end_to_end.test_platforms import OnSlack, models

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def parrot(request: ModelRequest) -> Reply:
    """Repeats the question; one that begins with "Slowly" takes its time."""
    said = request.messages[-1].text.splitlines()[-1]
    answer = {"action": "final", "arguments": {"answer": f"You said: {said} And that is all."}}
    delay_s = 0.15 if said.startswith("Slowly") else 0.0
    return Step({"thought": "", "step": answer}, chunk=4, delay_s=delay_s)


@dataclass
class Scene:
    slack: SlackTwin
    bot: BotProcess
    connected: OnSlack

    async def ask(self, text: str) -> str:
        return await self.slack.say("U1", "C1", text, mention_bot=True)

    def replies(self, thread: str) -> list[Posted]:
        posted = self.slack.posted("C1", thread)
        return [each for each in posted if each.user == self.slack.world.bot_user_id]

    async def reply(self, thread: str, holding: str) -> Posted:
        await self.slack.wait_for(
            lambda: any(holding in each.text for each in self.replies(thread)), 20
        )
        return self.replies(thread)[0]


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with ScriptedServer(parrot) as url, SlackTwin() as slack:
        platform = OnSlack(slack)
        async with bot_process(folder, platform.settings + models(url), platform.environ) as bot:
            await platform.wait_connected()
            yield Scene(slack, bot, platform)


async def test_the_stop_button_ends_an_answer_and_leaves_what_was_said(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        thread = await on.ask(f"Slowly {LONG}")
        growing = await on.reply(thread, "You said")
        stop = stop_button(growing)
        await on.slack.press("U1", "C1", growing.ts, stop)
        stopped = await on.reply(thread, "stopped")

        assert "that is all" not in stopped.text
        (again,) = buttons(stopped)
        await on.slack.press("U1", "C1", stopped.ts, again)
        answered = await on.reply(thread, "And that is all.")
        # Only ratings stand under an answer that is whole.
        await on.slack.wait_for(lambda: not {stop, again} & set(buttons(answered)))

        assert answered.ts == stopped.ts
        assert len(on.replies(thread)) == 1


async def test_an_edited_question_is_answered_anew_in_the_same_message(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        thread = await on.ask(f"Slowly {LONG}")
        growing = await on.reply(thread, "You said")
        on.slack.edit("C1", thread, f"<@{on.slack.world.bot_user_id}> What I meant.")
        answered = await on.reply(thread, "What I meant. And that is all.")

        assert answered.ts == growing.ts
        assert "thirteen" not in answered.text
        assert len(on.replies(thread)) == 1


async def test_a_deleted_question_takes_its_answer_along(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        root = await on.slack.say("U1", "C1", "Who can help me?")
        asked = await on.slack.say("U1", "C1", "My secret.", thread=root, mention_bot=True)
        await on.reply(root, "My secret. And that is all.")
        on.slack.remove(on.slack.message("C1", asked))
        await on.slack.wait_for(lambda: not on.replies(root), 20)

        again = await on.slack.say("U1", "C1", "Still there?", thread=root, mention_bot=True)
        assert again
        assert "Still there?" in (await on.reply(root, "And that is all.")).text


async def test_what_was_asked_while_the_bot_was_away_is_answered_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as on:
        first = await on.ask("Before the outage.")
        await on.reply(first, "And that is all.")
        on.slack.socket.loses_when_away = True
        await on.bot.kill()
        missed = [await on.ask(f"Missed {number}.") for number in range(3)]
        await on.bot.start()
        await on.connected.wait_connected()
        for number, thread in enumerate(missed):
            await on.reply(thread, f"Missed {number}. And that is all.")

        assert [len(on.replies(thread)) for thread in (first, *missed)] == [1, 1, 1, 1]


def buttons(message: Posted) -> list[str]:
    blocks = message.sent.get("blocks") or ()
    return [each["action_id"] for block in blocks for each in block.get("elements", ())]


def stop_button(message: Posted) -> str:
    (action,) = [each for each in buttons(message) if "stop" in each]
    return action
