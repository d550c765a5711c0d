"""What people change after they said it: stop, edit, delete, forget, answer anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from adapters.chat.types import Author, Command, Limits, Message, Press, Receipt
from adapters.models.scripted import Reply, ScriptedBackend, Step
from adapters.stores.ledger import Claim
from agents.ports import ModelRequest
from bot.app import Bot
from bot.approvals import NOT_YOURS
from bot.inbox import NOT_THE_LAST, NOTHING_TO_STOP, TOO_OLD
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tools.identity import ConversationKey, tenant_of

TENANT = tenant_of("browser", "local")
PERSON = Author("operator", "operator")


class Parrot:
    """A model that repeats the question, slowly while `slow` is set."""

    def __init__(self) -> None:
        self.slow, self.asked = True, 0
        self.backend = ScriptedBackend("scripted", self._reply)

    def _reply(self, request: ModelRequest) -> Reply:
        self.asked += 1
        said = request.messages[-1].text.splitlines()[-1]
        answer = {"action": "final", "arguments": {"answer": f"{self.asked}: {said}, you say."}}
        delay_s = 0.1 if self.slow else 0.0
        return Step({"thought": "", "step": answer}, chunk=4, delay_s=delay_s)


@asynccontextmanager
async def running(folder: Path, chat: Chat, parrot: Parrot) -> AsyncIterator[Bot]:
    async with (
        bot_with(chat, settings_in(folder), parrot.backend) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        yield bot
        stop.set()


def press(kind: str, event_id: str = "t1-1", **other: object) -> Press:
    made = Press("stop", event_id, "browser", TENANT, "t1", PERSON)
    return msgspec.structs.replace(made, kind=kind, **other)


async def ends(bot: Bot, count: int = 1) -> list[dict[str, str]]:
    """The end states, newest first, once there are `count`."""
    async with asyncio.timeout(20):
        while len(closed := await bot.stores.ledger.closed(TENANT)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return closed


async def remembered(bot: Bot, thread: str = "t1") -> str:
    turns = await bot.stores.memory.turns(message("", thread=thread).conversation)
    return " | ".join(f"{turn.role} {turn.text}" for turn in turns)


async def test_a_stopped_answer_keeps_what_was_said_and_is_remembered_so(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long question about many different things"))
        await until(lambda: chat.shown.get("t1-1"))
        assert await bot.inbox.press(press("stop")) == ""
        (end,) = await ends(bot)
        memory = await remembered(bot)
        again = await bot.inbox.press(press("stop"))

    (text,) = chat.delivered["t1-1"]
    assert text.startswith("1:")
    assert text.endswith("_(stopped)_")
    assert "you say" not in text
    assert (end["state"], end["reason"]) == ("stopped", "by a person")
    assert text in memory
    assert again == NOTHING_TO_STOP


async def test_stop_as_a_message_does_not_wait_behind_what_it_stops(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long question about many different things"))
        await until(lambda: parrot.asked)
        await bot.inbox.accept(message("!stop", number=2))
        await ends(bot, 2)

    assert "you say" not in chat.delivered["t1-1"][0]
    assert chat.delivered["t1-2"] == ["Stopped."]


async def test_a_typed_stop_stops_nobody_elses_answer(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    other = msgspec.structs.replace(message("!stop", number=2), author=Author("x", "operator"))
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long question about many different things"))
        await until(lambda: parrot.asked)
        await bot.inbox.accept(other)
        parrot.slow = False
        await ends(bot, 2)

    assert "you say" in chat.delivered["t1-1"][0]
    assert "Nothing is being answered for you" in chat.delivered["t1-2"][0]


async def test_a_slash_command_without_a_thread_stops_ones_answers_in_the_whole_channel(
    tmp_path: Path,
) -> None:
    def in_thread(thread: str, person: str) -> Message:
        key = ConversationKey(TENANT, "dm", "C1", thread)
        said = message("A very long question about many different things", thread=thread)
        return msgspec.structs.replace(said, conversation=key, author=Author(person, "operator"))

    chat, parrot = Chat(), Parrot()
    channel = ConversationKey(TENANT, "dm", "C1")
    async with running(tmp_path, chat, parrot) as bot:
        for thread, person in (("a", "operator"), ("b", "operator"), ("c", "x")):
            await bot.inbox.accept(in_thread(thread, person))
        await until(lambda: parrot.asked == 3)
        told = await bot.inbox.command(Command("stop", "", "browser", channel, PERSON))
        parrot.slow = False
        closed = await ends(bot, 3)

    assert told == "Stopped."
    assert sorted(each["state"] for each in closed) == ["answered", "stopped", "stopped"]


async def test_only_who_asked_may_press_and_only_where_they_asked(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    another = Author("another", "operator")
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long question about many different things"))
        await until(lambda: parrot.asked)
        answers = [
            await bot.inbox.press(press("stop", author=another)),
            await bot.inbox.press(press("stop", author=Author("guest", "guest"))),
            await bot.inbox.press(press("stop", channel="t2")),
            await bot.inbox.press(press("stop", event_id="unknown")),
        ]
        parrot.slow = False
        await ends(bot)

    assert answers[0] == NOT_YOURS
    assert "not allowed" in answers[1]
    assert answers[2:] == [TOO_OLD, TOO_OLD]
    assert "you say" in chat.delivered["t1-1"][0]


async def test_an_edit_of_a_waiting_message_is_what_gets_answered(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    async with bot_with(chat, settings_in(tmp_path), parrot.backend) as (bot, stop):
        await bot.inbox.accept(message("Wrong word"))
        await bot.inbox.revise(message("Right word"), edited_at=2.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await ends(bot)
            stop.set()

    assert chat.delivered["t1-1"] == ["1: Right word, you say."]


async def test_an_edit_during_the_answer_begins_it_anew_in_the_same_place(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very wrong question about many different things"))
        await until(lambda: chat.shown.get("t1-1"))
        parrot.slow = False
        await bot.inbox.revise(message("Right word"), edited_at=2.0)
        closed = await ends(bot)
        memory = await remembered(bot)

    assert chat.delivered["t1-1"] == ["2: Right word, you say."]
    assert chat.opened == {"t1-1": [None, "placeholder of t1-1"]}
    assert len(closed) == 1
    assert "wrong" not in memory


async def test_an_edit_that_two_processes_hear_of_begins_the_answer_anew_once(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very wrong question about many different things"))
        await until(lambda: chat.shown.get("t1-1"))
        await bot.inbox.revise(message("Another very long question, I mean"), edited_at=2.0)
        await until(lambda: parrot.asked == 2)
        await bot.inbox.revise(message("Another very long question, I mean"), edited_at=2.0)
        parrot.slow = False
        await ends(bot)

    assert chat.delivered["t1-1"] == ["2: Another very long question, I mean, you say."]


async def test_an_edit_after_the_answer_leaves_it(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("First word"))
        await ends(bot)
        await bot.inbox.revise(message("Other word"), edited_at=2.0)
        await asyncio.sleep(0.3)

    assert chat.delivered["t1-1"] == ["1: First word, you say."]


async def test_an_edit_by_somebody_else_changes_nothing(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    other = msgspec.structs.replace(message("Not mine"), author=Author("x", "operator"))
    async with bot_with(chat, settings_in(tmp_path), parrot.backend) as (bot, stop):
        await bot.inbox.accept(message("My word"))
        await bot.inbox.revise(other, edited_at=2.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await ends(bot)
            stop.set()

    assert chat.delivered["t1-1"] == ["1: My word, you say."]


async def test_a_message_deleted_while_it_waits_is_never_answered(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with bot_with(chat, settings_in(tmp_path), parrot.backend) as (bot, stop):
        await bot.inbox.accept(message("Never mind"))
        await bot.inbox.retract("browser", TENANT, "t1-1")
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            closed = await ends(bot)
            await asyncio.sleep(0.3)
            stop.set()

    assert (closed[0]["state"], closed[0]["reason"]) == ("stopped", "deleted")
    assert (chat.delivered, parrot.asked) == ({}, 0)


async def test_a_deletion_that_overtakes_its_message_keeps_it_out(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with bot_with(chat, settings_in(tmp_path), parrot.backend) as (bot, _):
        await bot.inbox.retract("browser", TENANT, "t1-1")
        receipt = await bot.inbox.accept(message("Never mind"))

    assert receipt is Receipt.DUPLICATE


async def test_a_message_deleted_during_the_answer_leaves_nothing_behind(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long question about many different things"))
        await until(lambda: chat.shown.get("t1-1"))
        await bot.inbox.retract("browser", TENANT, "t1-1")
        (end,) = await ends(bot)
        memory = await remembered(bot)

    assert (end["state"], end["reason"]) == ("stopped", "deleted")
    assert (chat.delivered, chat.removed, memory) == ({}, ["t1-1"], "")


async def test_a_message_deleted_after_the_answer_takes_the_answer_and_its_memory_along(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("The secret word"))
        await ends(bot)
        await bot.inbox.accept(message("Another word", number=2))
        await ends(bot, 2)
        await bot.inbox.retract("browser", TENANT, "t1-1")
        await ends(bot, 3)
        memory = await remembered(bot)

    assert list(chat.delivered) == ["t1-2"]
    assert "secret" not in memory
    assert "Another word" in memory


async def test_a_message_deleted_at_the_last_instant_takes_every_part_along(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(limits=Limits(600, edits_per_window=5, window_s=1.0)), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:

        async def delete(index: int) -> None:
            if index == 1:
                await bot.inbox.retract("browser", TENANT, "t1-1")

        chat.delivering = delete
        await bot.inbox.accept(message("word " * 150))
        (end,) = await ends(bot)
        memory = await remembered(bot)

    assert (end["state"], end["reason"]) == ("stopped", "deleted")
    assert chat.removed == ["t1-1", "t1-1.0", "t1-1.1"]
    assert memory == ""


async def test_one_of_two_joined_messages_deleted_is_left_out_of_the_answer(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    async with bot_with(chat, settings_in(tmp_path), parrot.backend) as (bot, stop):
        await bot.inbox.accept(message("First half of something very long indeed"))
        await bot.inbox.accept(message("second half of something", number=2))
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await until(lambda: chat.shown.get("t1-2"))
            parrot.slow = False
            await bot.inbox.retract("browser", TENANT, "t1-1")
            await ends(bot)
            stop.set()

    assert chat.delivered["t1-2"] == ["2: second half of something, you say."]
    assert "First half" not in parrot.backend.requests[-1].messages[-1].text


async def test_what_is_forgotten_does_not_come_back_from_a_running_turn(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("The secret is blue, and here come many more words"))
        await until(lambda: chat.shown.get("t1-1"))
        await bot.inbox.accept(message("The other secret is red", number=2))
        await bot.stores.changes.forget(message("").conversation)
        await ends(bot, 2)
        memory = await remembered(bot)
        left = await stored_text(bot)

    assert memory == ""
    assert "secret" not in " ".join(text for texts in chat.delivered.values() for text in texts)
    assert b"secret" not in left


async def test_an_answer_given_anew_stands_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A word"))
        await ends(bot)
        sentences = [await bot.inbox.press(press("again")) for _ in range(2)]
        await ends(bot, 2)
        memory = await remembered(bot)
        second = await bot.inbox.press(press("again", event_id=chat.asked["t1-1"][-1]))
        await ends(bot, 3)
        await bot.inbox.accept(message("Another word", number=2))
        await ends(bot, 4)
        too_late = await bot.inbox.press(press("again"))

    assert sentences[0] == ""
    assert chat.opened["t1-1"] == [None, "t1-1.0", "t1-1.0"]
    assert chat.delivered["t1-1"][:2] == ["1: A word, you say.", "2: A word, you say."]
    assert memory == "user A word | assistant 2: A word, you say."
    assert (second, too_late) == ("", NOT_THE_LAST)


async def test_a_deleted_question_takes_the_answer_along_that_was_given_anew(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(limits=Limits(600, edits_per_window=5, window_s=1.0)), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("secret " * 150))
        await ends(bot)
        for count in (2, 3):
            await bot.inbox.press(press("again", event_id=chat.asked["t1-1"][-1]))
            await ends(bot, count)
        chat.removed.clear()
        await bot.inbox.retract("browser", TENANT, "t1-1")
        await ends(bot, 4)
        memory = await remembered(bot)

    assert chat.removed == ["t1-1.0", "t1-1.1"]
    assert memory == ""


async def test_a_question_deleted_while_it_is_answered_anew_leaves_nothing(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A very long secret about many different things"))
        await ends(bot)
        parrot.slow = True
        await bot.inbox.press(press("again"))
        await until(lambda: parrot.asked == 2)
        await bot.inbox.retract("browser", TENANT, "t1-1")
        parrot.slow = False
        await ends(bot, 3)
        memory = await remembered(bot)

    assert chat.removed == ["t1-1.0"]
    assert memory == ""


async def test_a_typed_again_answers_anew_in_place_and_only_who_asked_may_say_it(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    parrot.slow = False
    other = msgspec.structs.replace(message("!again", number=2), author=Author("x", "operator"))
    async with running(tmp_path, chat, parrot) as bot:
        await bot.inbox.accept(message("A word"))
        await ends(bot)
        await bot.inbox.accept(other)
        await ends(bot, 2)
        before = list(chat.delivered["t1-1"])
        for _ in range(3):  # a platform may deliver it again
            await bot.inbox.accept(message("!again", number=3))
        await ends(bot, 4)

    assert before == ["1: A word, you say."]
    assert "no question of yours" in chat.delivered["t1-2"][0]
    assert chat.delivered["t1-1"][1:] == ["2: A word, you say."]
    assert "anew" in chat.delivered["t1-3"][0]


async def test_an_event_that_ends_every_worker_is_told_and_kept_as_a_dead_letter(
    tmp_path: Path,
) -> None:
    chat, parrot = Chat(), Parrot()
    settings = settings_in(tmp_path, **{"turns.max_deaths": 2})
    async with bot_with(chat, settings, parrot.backend) as (bot, stop):
        await bot.inbox.accept(message("Poison"))
        key = message("").conversation
        for number in range(2):  # two workers that were killed: their leases run out
            claim: Claim | None = None
            while claim is None:
                claim = await bot.stores.ledger.claim(key, owner=f"killed {number}")
                await asyncio.sleep(0.05)
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            (end,) = await ends(bot)
            (dead,) = await bot.stores.dead.of(TENANT)
            stop.set()

    assert end["state"] == "failed"
    assert "tell my operator the turn id" in chat.delivered["t1-1"][0]
    assert (dead.key, dead.letter.event_ids, dead.letter.deaths) == (key, ("t1-1",), 3)
    assert parrot.asked == 0


async def stored_text(bot: Bot) -> bytes:
    """Every value under the bot's keys, as the server would write them down."""
    redis = bot.stores.redis
    names = [name async for name in redis.scan_iter(count=1000)]
    return b"".join([await redis.dump(name) or b"" for name in names])
