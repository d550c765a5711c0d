"""What bots, webhooks and bridges say never becomes a turn, whatever they call themselves (C13)."""

from __future__ import annotations

import asyncio
import random

import pytest

from bot.testing.discord import DiscordTwin
from tests.adapters.chat.slack_bot import running as on_slack
from tests.adapters.chat.test_discord import RecordingInbox, connected
from tests.drills.figures import RecordFigure

# The bot's own name, a person's, and both in letters that only look alike.
NAMES = ("firstline", "alice", "fіrstline", "аlice", "Slackbot", "U1")
PROMISE = "No bot, webhook or bridge is ever answered, so that two bots can't keep each other busy"


@pytest.mark.malformed  # as little as an event may hold
@pytest.mark.timeout(900)
@pytest.mark.parametrize("messages", [200, pytest.param(10_000, marks=pytest.mark.drill)])
async def test_bots_on_slack_are_never_answered(messages: int, record_figure: RecordFigure) -> None:
    dice = random.Random(messages)
    async with on_slack() as bench:
        slack = bench.slack
        bot = slack.add_user("U2", "bot")
        for number in range(messages):
            message: dict[str, object] = {"channel": dice.choice(["C1", "D1"])}
            message |= {"ts": slack.world.new_ts(), "text": f"<@{slack.world.bot_user_id}> more?"}
            message |= spoofed(dice, bot, slack.world.bot_user_id)
            kind = dice.choice(["message", "app_mention"])
            slack.deliver({"type": kind, **message})
            if number % 50 == 49:
                await bench.quiet()
        await bench.quiet()
        await slack.say("U1", "C1", "a person", mention_bot=True)
        [heard] = await bench.heard()

    figure = (
        f"{messages:,} messages of bots and bridges on Slack: {len(bench.inbox.kept) - 1} taken"
    )
    record_figure(row="C13", promise=PROMISE, figure=figure)
    assert heard.text == "a person"
    assert len(bench.inbox.kept) == 1


def spoofed(dice: random.Random, bot: str, own: str) -> dict[str, object]:
    """Whom Slack names as the author of what a bot, a webhook, a bridge or we ourselves say."""
    name = dice.choice(NAMES)
    return dice.choice(
        [
            {"user": bot, "bot_id": "B2", "bot_profile": {"name": name}},
            {"subtype": "bot_message", "bot_id": "B3", "username": name},
            {"subtype": "bot_message", "bot_id": "B3", "username": name, "user": "U1"},
            {"user": own, "bot_id": "B0BOT"},
            {"user": "U1", "bot_id": "B4", "app_id": "A4", "username": name},
        ]
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("messages", [200, pytest.param(10_000, marks=pytest.mark.drill)])
async def test_bots_on_discord_are_never_answered(
    messages: int, record_figure: RecordFigure
) -> None:
    dice, inbox = random.Random(messages), RecordingInbox()
    async with DiscordTwin() as discord, connected(discord, inbox):
        for number in range(messages):
            user = dice.choice([discord.other_bot, discord.webhook, discord.bot])
            user.name = dice.choice(NAMES)
            place = dice.choice([discord.general, discord.staff])
            last = next(reversed(discord.world.messages), None)
            reply_to = str(last) if last and dice.random() < 0.3 else None
            await discord.say(user, place, "more?", mention_bot=True, reply_to=reply_to)
            if number % 50 == 49:
                await asyncio.sleep(0)
        await discord.say(discord.alice, discord.general, "a person", mention_bot=True)
        await inbox.hears(1)

    figure = (
        f"{messages:,} messages of bots and bridges on Discord: {len(inbox.messages) - 1} taken"
    )
    record_figure(row="C13", promise=PROMISE, figure=figure)
    assert inbox.texts == ["a person"]
