"""/memory and /remember: own words about oneself, shown to oneself, used where one said so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.chat.types import Author, Command, Message
from adapters.models.scripted import ScriptedBackend
from adapters.models.scripted_replies import Reply, Step
from adapters.stores.facts import MAX_CHARS, MAX_FACTS
from agents.ports import ModelRequest
from bot.app import Bot
from tests.bot.test_bot import Chat, bot_with, settings_in, until
from tools.identity import ConversationKey, PlaceKind, PrincipalKind

TENANT = "slack:T1"
EVERYONE = {
    "slack.allow.workspaces": ["*"],
    "slack.allow.channels": ["*"],
    "slack.allow.users": ["*"],
    "slack.allow.external": True,
}
DM = ConversationKey(TENANT, "dm", "D1")
CHANNEL = ConversationKey(TENANT, "public", "C1", "1.0")


def answering(request: ModelRequest) -> Reply:
    return Step({"thought": "", "step": [{"action": "final", "arguments": {"answer": "Noted."}}]})


class Talk:
    """People who write to one bot, and what its model was shown."""

    def __init__(self, bot: Bot, chat: Chat, model: ScriptedBackend) -> None:
        self.bot, self.chat, self.model, self._number = bot, chat, model, 0

    async def say(
        self,
        text: str,
        key: ConversationKey = DM,
        *,
        user: str = "U1",
        kind: PrincipalKind = "member",
    ) -> str:
        self._number += 1
        name = f"{key.channel}-{self._number}"
        author = Author(user, kind)
        said = Message(name, "slack", key, author, text, float(self._number), name, "dm")
        await self.bot.inbox.accept(said)
        await until(lambda: name in self.chat.delivered)
        return "\n".join(self.chat.delivered[name])

    async def slash(
        self, name: str, argument: str, key: ConversationKey = DM, *, user: str = "U1"
    ) -> str:
        author = Author(user, "member")
        return await self.bot.inbox.command(Command(name, argument, "slack", key, author))

    @property
    def prompt(self) -> list[str]:
        return [each.text for each in self.model.requests[-1].messages]


@asynccontextmanager
async def talking(folder: Path, **overrides: object) -> AsyncIterator[Talk]:
    chat, model = Chat("slack"), ScriptedBackend("scripted", answering)
    settings = settings_in(folder, **EVERYONE, **overrides)
    async with bot_with(chat, settings, model) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        yield Talk(bot, chat, model)
        stop.set()


def place(kind: PlaceKind) -> ConversationKey:
    return ConversationKey(TENANT, kind, "C9", "2.0")


async def test_what_a_person_asked_to_remember_is_shown_to_the_model_right_before_their_question(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        told = await talk.slash("remember", "I  work in\nTrondheim")
        await talk.say("Where do I work?")

    assert "I will remember that" in told
    assert "in direct messages only" in told
    assert talk.prompt[-2] == "About the person who asks, in their words:\n- I work in Trondheim"
    assert talk.prompt[-1].endswith("Where do I work?")


async def test_it_is_known_as_well_when_a_question_is_answered_anew(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Where do I work?")
        asked = len(talk.model.requests)
        await talk.bot.inbox.accept(
            Message("again", "slack", DM, Author("U1", "member"), "/again", 9.0, "again", "dm")
        )
        await until(lambda: len(talk.model.requests) > asked)

    assert talk.prompt[-2].endswith("- I work in Trondheim")
    assert talk.prompt[-1].endswith("Where do I work?")


async def test_it_is_used_in_channels_only_after_the_person_said_so(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Hello", CHANNEL)
        before = talk.prompt
        await talk.slash("memory", "share on")
        await talk.say("Hello again", CHANNEL)
        shared = talk.prompt
        await talk.say("Hello from another", CHANNEL, user="U2")
        another = talk.prompt
        await talk.say("Hello, outside", place("external"))
        outside = talk.prompt
        await talk.slash("memory", "share off")
        await talk.say("Hello once more", CHANNEL)

    assert not any("Trondheim" in text for text in before)
    assert any("Trondheim" in text for text in shared)
    assert not any("Trondheim" in text for text in another)
    assert not any("Trondheim" in text for text in outside)
    assert not any("Trondheim" in text for text in talk.prompt)


async def test_it_is_the_persons_in_this_workspace_alone(tmp_path: Path) -> None:
    other = ConversationKey("slack:T2", "dm", "D1")
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Where do I work?", other)
        elsewhere = talk.prompt
        await talk.say("Where do I work?", user="U2")

    assert not any("Trondheim" in text for text in elsewhere)
    assert not any("Trondheim" in text for text in talk.prompt)


async def test_what_is_too_long_too_much_or_said_among_outsiders_is_refused(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        too_long = await talk.slash("remember", "x" * (MAX_CHARS + 1))
        for number in range(MAX_FACTS):
            await talk.slash("remember", f"fact {number}")
        too_many = await talk.slash("remember", "one more")
        outside = await talk.slash("remember", "I am here", place("external"))
        empty = await talk.slash("remember", "")
        known = await talk.bot.stores.facts.of(TENANT, "U1")

    assert f"up to {MAX_CHARS}" in too_long
    assert f"{MAX_FACTS} things" in too_many
    assert "direct message" in outside
    assert "/remember" in empty
    assert len(known.facts) == MAX_FACTS


async def test_whatever_is_written_behind_the_command_gets_a_sentence(tmp_path: Path) -> None:
    hostile = ["\ud800", "remember \ud800 \x00", "share maybe", "forget {}", "what", "SHOW", "\n"]
    async with talking(tmp_path) as talk:
        answers = [await talk.slash("memory", each) for each in hostile]
        known = await talk.bot.stores.facts.of(TENANT, "U1")
        shown = await talk.slash("memory", "show")

    assert all(answers)
    assert [fact.text for fact in known.facts.values()] == ["? \x00"]
    assert "- ? \x00" in shown


async def test_outsiders_can_not_have_a_shared_conversation_forgotten(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.say("Hello", place("external"))
        told = await talk.say("!memory forget", place("external"), kind="external")
        kept = await talk.bot.stores.memory.size(place("external"))

    assert "Only a member of this workspace" in told
    assert kept == 2


async def test_show_tells_what_is_kept_and_own_facts_to_nobody_else(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Hello", CHANNEL)
        in_channel = await talk.say("!memory show", CHANNEL)
        alone = await talk.slash("memory", "", CHANNEL)
        in_dm = await talk.say("/memory")

    assert "I keep 2 entries, the oldest of 1970-01-01" in in_channel
    assert "for 30 days after the last answer" in in_channel
    assert "Trondheim" not in in_channel
    assert "- I work in Trondheim" in alone
    assert "- I work in Trondheim" in in_dm
    assert "I keep nothing" in in_dm


async def test_the_export_is_json_with_what_was_said_and_own_facts(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "I work in Trondheim")
        await talk.say("Hello there")
        text = await talk.say("!memory export")

    exported = json.loads(text.removeprefix("```json\n").removesuffix("\n```"))
    assert exported["conversation"] == str(DM)
    assert [entry["text"] for entry in exported["entries"]] == ["Hello there", "Noted."]
    assert exported["about_you"][0]["text"] == "I work in Trondheim"
    assert exported["left_out"] == 0


async def test_forget_leaves_nothing_of_the_conversation_but_the_count_that_it_was_forgotten(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        stores = talk.bot.stores
        await talk.say("The canary is 4711")
        await talk.slash("remember", "canary 4711 is mine")
        await talk.slash("remember", "said elsewhere", CHANNEL)
        told = await talk.slash("memory", "forget")
        left = await _holding(talk.bot, b"4711")
        known = await stores.facts.of(TENANT, "U1")
        await talk.say("What was it?")

    assert told == (
        "Forgotten: what was said here, its pictures and its summary, and 1 thing you told me "
        "about yourself here."
    )
    assert left == []
    assert [fact.text for fact in known.facts.values()] == ["said elsewhere"]
    assert not any("4711" in text for text in talk.prompt)


async def test_forget_me_forgets_what_was_told_anywhere(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.slash("remember", "one")
        await talk.slash("remember", "two", CHANNEL)
        told = await talk.slash("memory", "forget me", CHANNEL)
        known = await talk.bot.stores.facts.of(TENANT, "U1")

    assert told == "Forgotten: 2 things you told me about yourself."
    assert known.facts == {}


async def _holding(bot: Bot, canary: bytes) -> list[bytes]:
    """Every key whose value holds the canary."""
    redis = bot.stores.redis
    await redis.config_set("rdbcompression", "no")  # else DUMP may split it
    names = [name async for name in redis.scan_iter(match=f"{bot.settings.redis.prefix}:*")]
    assert names
    return [name for name in names if canary in (await redis.dump(name) or b"")]
