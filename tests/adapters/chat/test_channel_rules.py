"""What an operator sets for a channel, and a person's language, as the adapters keep to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from adapters.chat.discord import DiscordAdapter
from adapters.chat.slack import SlackAdapter
from adapters.chat.types import ChannelRule, ChannelRules, NotAccepted, Receipt
from bot.testing.discord import DiscordTwin
from bot.testing.slack import SlackTwin
from bot.testing.slack.world import User
from tests.adapters.chat.slack_bot import Bench, RecordingInbox
from tests.contracts import chat as contracts
from tests.contracts.chat import running


def all_channels(rule: ChannelRule) -> ChannelRules:
    return lambda channel: rule


@contextlib.asynccontextmanager
async def slack_with(rule: ChannelRule, inbox: RecordingInbox) -> AsyncIterator[Bench]:
    async with SlackTwin() as slack:
        slack.add_user("U1")
        slack.add_channel("C1")
        slack.world.users["U1"] = User("U1", "member", slack.world.users["U1"].team_id, "de-DE")
        adapter = SlackAdapter(
            bot_token=slack.bot_token,
            app_token=slack.app_token,
            api_url=slack.api_url,
            rules=all_channels(rule),
        )
        async with running(adapter, inbox):
            await slack.socket.connected()
            yield Bench(slack, adapter, inbox)


async def test_slack_hears_no_follow_up_where_none_is_wanted_but_every_mention() -> None:
    async with slack_with(ChannelRule(follow_ups=False), RecordingInbox()) as bench:
        ts = await bench.slack.say("U1", "C1", "one", mention_bot=True)

        await bench.heard()
        await bench.slack.say("U1", "C1", "two", thread=ts)
        await bench.slack.say("U1", "C1", "three", thread=ts, mention_bot=True)
        heard = await bench.heard(2)

    assert [each.text for each in heard] == ["one", "three"]


async def test_slack_answers_in_the_channel_where_that_is_wanted() -> None:
    async with slack_with(ChannelRule(reply_in="channel"), RecordingInbox()) as bench:
        ts = await bench.slack.say("U1", "C1", "outside", mention_bot=True)
        await bench.slack.say("U1", "C1", "inside", thread=ts, mention_bot=True)
        outside, inside = await bench.heard(2)
        reply = bench.adapter.reply(outside)
        await reply.open(None)
        await reply.deliver(0, "Here.", token="t0")
        await reply.aclose()
        shown = bench.slack.messages("C1")

    assert outside.conversation.thread is None
    assert inside.conversation.thread == ts
    assert shown[-1] == "Here."


async def test_slack_tells_the_language_of_who_speaks() -> None:
    async with slack_with(ChannelRule(), RecordingInbox()) as bench:
        await bench.slack.say("U1", "C1", "hallo", mention_bot=True)
        [message] = await bench.heard()
        await bench.slack.command("U1", "C1", "/help", "")
        [command] = bench.inbox.commands

    assert (message.locale, command.locale) == ("de-DE", "de-DE")


class DownInbox(contracts.RecordingInbox):
    async def command(self, command: object) -> str:
        raise NotAccepted("away")


@contextlib.asynccontextmanager
async def discord_with(
    discord: DiscordTwin, rule: ChannelRule, inbox: contracts.RecordingInbox
) -> AsyncIterator[DiscordAdapter]:
    adapter = DiscordAdapter(
        token=discord.token, api_url=discord.api_url, rules=all_channels(rule), accept_within_s=1
    )
    async with running(adapter, inbox):
        await discord.wait_connected()
        yield adapter


async def test_discord_hears_no_follow_up_where_none_is_wanted_but_every_mention() -> None:
    inbox = contracts.RecordingInbox()
    rule = ChannelRule(follow_ups=False)
    async with DiscordTwin() as discord, discord_with(discord, rule, inbox) as adapter:
        await discord.say(discord.alice, discord.general, "one", mention_bot=True)
        reply = adapter.reply(await inbox.next())
        answer = await reply.open(None)
        await reply.deliver(0, "Answer.", token="t0")
        await reply.aclose()
        await discord.say(discord.alice, discord.general, "two", reply_to=answer)
        await discord.say(discord.alice, discord.general, "three", mention_bot=True)
        await discord.say(discord.alice, discord.dm, "four")
        heard = {(await inbox.next()).text for _ in range(2)}

    assert heard == {"three", "four"}
    assert inbox.is_empty


async def test_discord_tells_the_language_of_who_asks_and_speaks_it() -> None:
    inbox, down = contracts.RecordingInbox(), DownInbox()
    inbox.answer = Receipt.FULL
    async with DiscordTwin() as discord:
        discord.interactions.locale = "de"
        async with discord_with(discord, ChannelRule(), inbox):
            await discord.wait_for(lambda: discord.world.commands)
            full = await told(discord, "ask", {"question": "why"})
            await told(discord, "stop", {})
        async with discord_with(discord, ChannelRule(), down):
            failed = await told(discord, "reset", {})

    assert full.startswith("Hier warten schon zu viele Fragen.")
    assert inbox.commands[0].locale == "de"
    assert failed == "Das hat nicht geklappt. Bitte versuch es in einer Minute noch einmal."


async def told(discord: DiscordTwin, name: str, options: dict[str, str]) -> str:
    """What a command says in the end; `/ask` shows the question first."""
    asked = await discord.command(discord.alice, discord.general, name, {**options})

    def answer() -> str:
        posted = discord.answer_to(asked)
        text = posted.content if posted is not None else ""
        return "" if " asks: " in text else text

    await discord.wait_for(answer)
    return answer()
