"""The check of shapes itself; tests/shapes.py runs it over all that any test's twin sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from slack_bolt.request.internals import (
    extract_channel_id,
    extract_team_id,
    extract_thread_ts,
    extract_user_id,
)

from bot.testing.discord import DiscordTwin
from bot.testing.discord.shapes import DiscordShapes
from bot.testing.slack import SlackTwin
from bot.testing.slack.presses import press_payload
from bot.testing.slack.world import Posted
from tests import slack_blocks, slack_shapes

BUTTON = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
BUTTONS = {"type": "actions", "elements": [BUTTON]}
SHAPES = DiscordShapes()


def message(**changed: Any) -> dict[str, Any]:
    twin = DiscordTwin()
    posted = twin.world.add_message(twin.general, twin.alice, "hello")
    return twin.world.message_payload(posted, event=True) | changed


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, None),
        ({"id": 17}, "Message.id: 17 must be a string"),
        ({"pinned": 0}, "Message.pinned: 0 is no bool"),
        ({"type": 99}, "Message.type: 99 is none of the known values"),
        ({"mentions": [{"id": "1"}]}, "Message.mentions[0].username: missing"),
        ({"edited_timestamp": None}, None),
        ({"timestamp": None}, "Message.timestamp: None is no str"),
        ({"subject": "x"}, "Message.subject: unknown to Message"),
    ],
)
def test_a_message_is_held_against_discord_py_s_type(
    changed: dict[str, Any], told: str | None
) -> None:
    found = SHAPES.deviations("MESSAGE_CREATE", message(**changed))
    assert (told in found) if told else not found


def test_an_event_or_route_of_which_no_type_is_known_is_a_deviation() -> None:
    assert SHAPES.deviations("PRESENCE_UPDATE", {"user": {}}) == [
        "PRESENCE_UPDATE: no type is known"
    ]
    assert SHAPES.deviations("GET /guilds/{guild} 200", {}) == [
        "GET /guilds/{guild} 200: no type is known"
    ]


def test_a_refusal_is_not_held_against_the_type_of_the_answer() -> None:
    assert not SHAPES.deviations("GET /users/@me 401", {"message": "401: Unauthorized"})


def envelope(**changed: Any) -> dict[str, Any]:
    bot = {"team_id": "T1", "user_id": "U1", "is_bot": True, "is_enterprise_install": False}
    said = {"type": "message", "user": "U1", "text": "hi", "ts": "1700000000.000001"}
    where = {"channel": "C1", "channel_type": "channel", "event_ts": "1700000000.000001"}
    payload = {
        "token": "t",
        "team_id": "T1",
        "api_app_id": "A1",
        "event": said | where | changed,
        "type": "event_callback",
        "event_id": "Ev1",
        "event_time": 1,
        "authorizations": [bot | {"enterprise_id": None}],
    }
    about = {"envelope_id": "1", "type": "events_api", "accepts_response_payload": False}
    return {**about, "payload": payload}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"ts": 1.5}, ["message.ts: 1.5 is no ts"]),
        ({"subject": "x"}, ["message.subject: unknown"]),
        ({"thread_ts": None}, ["message.thread_ts: None is no ts"]),
        ({"type": "something_else"}, []),
    ],
)
def test_a_slack_event_is_held_against_what_is_documented(
    changed: dict[str, Any], told: list[str]
) -> None:
    assert slack_shapes.deviations("socket", envelope(**changed)) == told


def test_each_recorded_shape_names_its_page() -> None:
    recorded = sorted((Path(__file__).parents[1] / "recordings/slack").glob("*.json"))
    sources = [json.loads(each.read_text(encoding="utf-8"))["source"] for each in recorded]
    assert len(sources) > 20
    pages = ("https://docs.slack.dev/", "https://github.com/slackapi/")
    assert all(each.startswith(pages) for each in sources)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"type": "markdown", "text": "x"}, []),
        ({"type": "markdown", "text": "x", "colour": 1}, ["m: markdown has no ['colour']"]),
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}, ["header"]),
        ({"type": "poster"}, ["m: 'poster' is no block"]),
    ],
)
def test_a_block_is_held_against_the_models_of_slack_s_sdk(
    block: dict[str, Any], told: list[str]
) -> None:
    found = list(slack_blocks.faults_of("m", {"blocks": [block]}))
    assert len(found) == len(told)
    assert all(word in each for word, each in zip(told, found, strict=True))


def test_bolt_reads_who_and_where_from_what_the_twin_sends() -> None:
    twin = SlackTwin()
    user, channel = twin.add_user("U1"), twin.add_channel("C1")
    said = Posted(twin.world.new_ts(), channel, user, {"text": "hi"}, "1700000000.000001")
    payload = press_payload(
        twin.world,
        Posted(said.ts, channel, user, {"blocks": [BUTTONS]}),
        user,
        "go",
        response_url="http://127.0.0.1/",
    )

    assert extract_team_id(payload) == twin.world.team_id
    assert extract_user_id(payload) == user
    assert extract_channel_id(payload) == channel
    assert extract_channel_id({"event": said.to_json() | {"channel": channel}}) == channel
    assert extract_thread_ts({"event": said.to_json()}) == "1700000000.000001"
