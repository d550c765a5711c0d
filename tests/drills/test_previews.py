"""Addresses that carry somebody's words, in every form a model can be talked into (I2, I3)."""

from __future__ import annotations

import random

import pytest

from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from bot.testing.previews import Attacker, Previewer
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

PROMISE = "Whatever a model answers, no platform fetches an address for a preview or a picture"
IN_ONE_ANSWER = 20
HOSTS = (
    "evil.example",
    "EVIL.Example:8443",
    "127.0.0.1:9",
    "[::1]",
    "xn--e1awd7f.example",
    "евил.example",
    "docs.slack.dev@evil.example",
    "cdn.discordapp.com.evil.example",
    "evil.example.",
    "%65vil.example",
)
SCHEMES = ("https://", "http://", "HTTPS://", "//", "www.", "")
FORMS = (
    "{url}",
    "<{url}>",
    "<{url}|label>",
    "[label]({url})",
    '[label](<{url}> "title")',
    "![pixel]({url})",
    "![]({url})",
    "![a [nested] one]({url})",
    "![a \\] bracket]({url})",
    "![two\nlines]({url})",
    "![pixel]({url} =1x1)",
    "[![pixel]({url})]({url})",
    "![by name][n{number}]\n\n[n{number}]: {url}",
    "![n{number}]\n\n[n{number}]: <{url}>",
    '<img src="{url}">',
    '<a href="{url}">x</a>',
    "| a |\n| --- |\n| ![p]({url}) |",
    "> ![quoted]({url})",
    "- ![listed]({url})",
    "# ![titled]({url})",
    "```\ncode\n``` ![after]({url})",
    "`` ` `` ![after]({url})",
    "`![in code]({url})` and ![out]({url})",
    "\\![escaped]({url})",
    "||![hidden]({url})||",
    "**{url}**",
    "!\u200b[zero width]({url})",
)


def variants(count: int) -> list[str]:
    dice = random.Random(count)
    found = []
    for number in range(count):
        where = f"{dice.choice(SCHEMES)}{dice.choice(HOSTS)}/p{number}.png?q=the-secret"
        found.append(FORMS[number % len(FORMS)].format(url=where, number=number))
    return found


@pytest.fixture(params=["slack", "discord", "mattermost"])
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(f"{request.param}_conversation")
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [60, pytest.param(540, marks=pytest.mark.drill)])
async def test_no_address_that_a_model_says_is_fetched_by_a_platform(
    talk: Conversation, count: int, record_figure: RecordFigure
) -> None:
    previews, said = previews_of(talk), variants(count)
    async with Attacker() as attacker:
        previews.attacker = attacker
        for first in range(0, count, IN_ONE_ANSWER):
            talk.model.says("The report:\n\n" + "\n\n".join(said[first : first + IN_ONE_ANSWER]))
            await talk.ask("What does the report say?", timeout_s=60)
        await previews.settle()

    name = type(talk.person).__name__.removeprefix("On")
    figure = (
        f"{name}: {count} addresses in {len(FORMS)} forms, {previews.looked} texts shown: "
        f"{len(previews.fetches)} fetched"
    )
    record_figure(row="I2", promise=PROMISE, figure=figure)
    assert (previews.fetches, attacker.visits) == ([], [])


def previews_of(talk: Conversation) -> Previewer:
    person = talk.person
    if isinstance(person, OnSlack):
        return person.slack.previews
    if isinstance(person, OnDiscord):
        return person.discord.previews
    return person.server.previews  # type: ignore[attr-defined,no-any-return]
