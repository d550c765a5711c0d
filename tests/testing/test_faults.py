"""Faults of the twins: the same words on both, on the wire and under a whole bot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from bot.testing.discord import DiscordTwin
from bot.testing.faults import Faults
from bot.testing.slack import SlackTwin
from bot.testing.slack.faults import Reason


@dataclass
class Post:
    """How a message is posted on one platform, and what is refused there."""

    faults: Faults
    call: str
    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    error: str | int

    async def send(self) -> tuple[int, Any, Mapping[str, str]]:
        async with (
            aiohttp.ClientSession(headers=self.headers) as http,
            http.post(self.url, json=self.body) as answer,
        ):
            is_json = answer.content_type == "application/json"
            told = await answer.json() if is_json else await answer.text()
            return answer.status, told, answer.headers


@pytest.fixture(params=["slack_twin", "discord_twin"])
def post(request: pytest.FixtureRequest) -> Post:
    twin: SlackTwin | DiscordTwin = request.getfixturevalue(request.param)
    if isinstance(twin, SlackTwin):
        body = {"channel": twin.add_channel("C1"), "text": "hello"}
        url, bearer = twin.api_url + "chat.postMessage", f"Bearer {twin.bot_token}"
        return Post(
            twin.faults, "chat.postMessage", url, {"Authorization": bearer}, body, "is_archived"
        )
    url = f"{twin.api_url}/channels/{twin.general.id}/messages"
    bearer = f"Bot {twin.token}"
    return Post(
        twin.faults, "POST /messages$", url, {"Authorization": bearer}, {"content": "hi"}, 50001
    )


async def test_a_limited_call_says_when_it_may_be_tried_again(post: Post) -> None:
    post.faults.limited(post.call, 7.0, times=2)
    for _ in range(2):
        status, _, headers = await post.send()
        assert status == 429
        assert int(headers["Retry-After"]) >= 7
    assert (await post.send())[0] == 200


async def test_a_refused_call_carries_the_platforms_code(post: Post) -> None:
    post.faults.refused(post.call, post.error)
    _, told, _ = await post.send()
    assert post.error in (told.get("error"), told.get("code"))
    assert (await post.send())[0] == 200


async def test_a_page_comes_in_place_of_an_answer(post: Post) -> None:
    post.faults.page(post.call, 502)
    status, told, _ = await post.send()
    assert (status, told) == (502, "<h1>Oops</h1>")


async def test_a_cut_call_has_taken_effect(post: Post, request: pytest.FixtureRequest) -> None:
    post.faults.cut(post.call)
    with pytest.raises(aiohttp.ClientError):
        await post.send()
    twin = request.getfixturevalue(request.node.callspec.params["post"])
    place = "C1" if isinstance(twin, SlackTwin) else twin.general
    assert len(twin.messages(place)) == 1


async def test_a_slow_call_takes_its_time(post: Post) -> None:
    post.faults.slow(0.1)
    begun = asyncio.get_running_loop().time()
    await post.send()
    assert asyncio.get_running_loop().time() - begun >= 0.09


@pytest.fixture(params=["slack_conversation", "discord_conversation"])
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


def faults_of(talk: Conversation) -> Faults:
    person = talk.person
    if isinstance(person, OnSlack):
        return person.slack.faults
    assert isinstance(person, OnDiscord)
    return person.discord.faults


def shown(talk: Conversation) -> list[list[str]]:
    return [re.findall(r"\d+", each.text) for each in talk.recorder.shown]


async def until(found: Any) -> None:
    async with asyncio.timeout(20):
        while not found():  # noqa: ASYNC110 (any state may change it)
            await asyncio.sleep(0.01)


async def test_what_is_told_twice_is_answered_once(talk: Conversation) -> None:
    faults_of(talk).twice(times=2)
    talk.model.says("Once.")
    assert await talk.ask("Are you there?") == "Once."
    assert await talk.ask("What is 6*7?") != ""
    assert talk.person.replies().count("Once.") == 1
    assert len(talk.person.replies()) == 2


async def test_what_comes_in_the_wrong_order_is_answered_all_the_same(talk: Conversation) -> None:
    faults_of(talk).swapped()
    await talk.person.say("What is 6*7?")
    if isinstance(talk.person, OnSlack):
        talk.person.thread = None  # a question of its own
    await talk.person.say("What is 6*8?")
    await until(lambda: {"42", "48"} <= {word for each in shown(talk) for word in each})


async def test_a_connection_that_is_dropped_or_sent_away_comes_back(talk: Conversation) -> None:
    await faults_of(talk).disconnect()
    assert "42" in await talk.ask("What is 6*7?")


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "too_many_websockets"])
async def test_slack_s_disconnects_are_followed_by_a_new_connection(
    slack_conversation: Conversation, reason: Reason
) -> None:
    person = slack_conversation.person
    assert isinstance(person, OnSlack)
    socket = person.slack.socket
    socket.closes_after_s = 0.05
    await person.slack.faults.disconnect(reason)
    await person.slack.wait_for(lambda: socket.connections == 2, 20)
    assert "42" in await slack_conversation.ask("What is 6*7?")


async def listening(slack: SlackTwin, http: aiohttp.ClientSession) -> Any:
    ticket = slack.socket.issue_ticket()
    url = slack.base_url.replace("http", "ws", 1) + f"/link?ticket={ticket}"
    return await http.ws_connect(url)


async def test_sockets_are_counted_and_an_eleventh_is_sent_away(slack_twin: SlackTwin) -> None:
    async with aiohttp.ClientSession() as http:
        sockets = [await listening(slack_twin, http) for _ in range(10)]
        hellos = [(await each.receive_json())["num_connections"] for each in sockets]
        told = await (await listening(slack_twin, http)).receive_json()

    assert hellos == list(range(1, 11))
    assert (told["type"], told["reason"]) == ("disconnect", "too_many_websockets")


async def test_a_disabled_link_is_closed_and_lets_nobody_back_in(slack_twin: SlackTwin) -> None:
    async with aiohttp.ClientSession() as http:
        socket = await listening(slack_twin, http)
        await socket.receive_json()
        await slack_twin.faults.disconnect("link_disabled")
        assert (await socket.receive_json())["reason"] == "link_disabled"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await listening(slack_twin, http)


async def test_an_envelope_whose_ack_is_lost_comes_again_and_says_why(
    slack_twin: SlackTwin,
) -> None:
    user, channel = slack_twin.add_user("U1"), slack_twin.add_channel("D1", "im")
    slack_twin.socket.ack_timeout_s = 0.1
    slack_twin.faults.acks_lost()
    async with aiohttp.ClientSession() as http:
        socket = await listening(slack_twin, http)
        await socket.receive_json()
        await slack_twin.say(user, channel, "hello")
        frames = []
        for _ in range(2):
            frames.append(await socket.receive_json())
            await socket.send_json({"envelope_id": frames[-1]["envelope_id"]})

    tried = [(each["retry_attempt"], each["retry_reason"]) for each in frames]
    assert tried == [(0, ""), (1, "timeout")]
    assert frames[0]["payload"]["event_id"] == frames[1]["payload"]["event_id"]


async def test_discord_s_addresses_can_be_made_to_expire(discord_twin: DiscordTwin) -> None:
    discord = discord_twin
    said = await discord.say(discord.alice, discord.general, "see", files=[("x.png", b"12")])
    url = discord.world.message_payload(discord.message(said))["attachments"][0]["url"]
    discord.faults.expired_files()
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 404
