"""The twins' previewers: a careless bot is fetched from, a careful one is not."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from bot.testing.discord import DiscordTwin
from bot.testing.mattermost import MattermostTwin
from bot.testing.previews import Attacker, Fetch, links_in
from bot.testing.slack import SlackTwin

LINK, PICTURE = "https://evil.example/a?q=1", "https://evil.example/b.png"
OFF = {"unfurl_links": False, "unfurl_media": False}
WORDS = {"type": "section", "text": {"type": "mrkdwn", "text": LINK}}
IMAGE_BLOCK = {"type": "image", "image_url": PICTURE, "alt_text": "x"}


def shown(*fetches: Fetch) -> list[tuple[str, str]]:
    return [(each.surface, each.url) for each in fetches]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"see {LINK}.", [LINK + "."]),
        (f"[a]({LINK}) <{LINK}|b> www.evil.example", [LINK, LINK, "www.evil.example"]),
        (f"`{LINK}` and\n```\n{LINK}\n```", []),
        (f"```\n{LINK}", []),
        ("nothing. here", []),
    ],
)
def test_links_are_found_where_they_are_shown_as_links(text: str, found: list[str]) -> None:
    assert links_in(text) == found


@pytest.mark.parametrize(
    ("method", "args", "fetched"),
    [
        ("chat.postMessage", {"text": LINK}, [("post", LINK)]),
        ("chat.postMessage", {"text": LINK, "unfurl_links": False}, [("post", LINK)]),
        ("chat.postMessage", {"text": LINK, **OFF}, []),
        ("chat.postEphemeral", {"text": LINK, "user": "U1"}, [("ephemeral", LINK)]),
        (
            "views.publish",
            {
                "user_id": "U1",
                "view": {"type": "home", "blocks": [IMAGE_BLOCK, WORDS]},
            },
            [("home", PICTURE)],
        ),
    ],
)
async def test_slack_unfolds_what_is_not_switched_off_and_every_picture(
    slack_twin: SlackTwin, method: str, args: dict[str, Any], fetched: list[tuple[str, str]]
) -> None:
    channel = slack_twin.add_channel("C1")
    slack_twin.add_user("U1")
    bearer = {"Authorization": f"Bearer {slack_twin.bot_token}"}
    async with Attacker() as attacker:
        slack_twin.previews.attacker = attacker
        async with (
            aiohttp.ClientSession(headers=bearer) as http,
            http.post(slack_twin.api_url + method, json={"channel": channel, **args}) as answer,
        ):
            assert (await answer.json())["ok"]
        await slack_twin.previews.settle()

        assert shown(*slack_twin.previews.fetches) == fetched
        assert attacker.visits == [url.removeprefix("https://") for _, url in fetched]


@pytest.mark.parametrize(
    ("body", "fetched"),
    [
        ({"content": LINK}, [("post", LINK)]),
        ({"content": LINK, "flags": 4}, []),
        ({"content": f"<{LINK}> `{LINK}`"}, []),
        (
            {"content": "x", "flags": 4, "embeds": [{"image": {"url": PICTURE}}]},
            [("post", PICTURE)],
        ),
    ],
)
async def test_discord_unfolds_what_is_not_suppressed_or_in_brackets(
    discord_twin: DiscordTwin, body: dict[str, Any], fetched: list[tuple[str, str]]
) -> None:
    url = f"{discord_twin.api_url}/channels/{discord_twin.general.id}/messages"
    bearer = {"Authorization": f"Bot {discord_twin.token}"}
    async with aiohttp.ClientSession(headers=bearer) as http:
        async with http.post(url, json=body) as answer:
            posted = (await answer.json())["id"]
        async with http.patch(f"{url}/{posted}", json={"content": LINK}) as answer:
            assert answer.status == 200

    is_suppressed = bool(body.get("flags"))
    edited = [] if is_suppressed else [("edit", LINK)]
    assert shown(*discord_twin.previews.fetches) == [*fetched, *edited]


@pytest.mark.parametrize(
    ("message", "props", "fetched"),
    [
        (LINK, {}, [("post", LINK)]),
        (LINK, {"unsafe_links": "true"}, []),
        (f"![x]({PICTURE}) {LINK}", {"unsafe_links": "true"}, [("post", PICTURE)]),
    ],
)
async def test_mattermost_unfolds_safe_links_and_every_picture(
    mattermost_twin: MattermostTwin,
    message: str,
    props: dict[str, str],
    fetched: list[tuple[str, str]],
) -> None:
    channel = mattermost_twin.add_channel("general")
    bearer = {"Authorization": f"Bearer {mattermost_twin.token}"}
    body = {"channel_id": channel, "message": message, "props": props}
    async with (
        aiohttp.ClientSession(mattermost_twin.url, headers=bearer) as http,
        http.post("/api/v4/posts", json=body) as answer,
    ):
        assert answer.status == 201

    assert shown(*mattermost_twin.previews.fetches) == fetched
