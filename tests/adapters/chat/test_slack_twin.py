"""The fake Slack as the plain SDK sees it."""

from __future__ import annotations

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.testing.slack import SlackTwin
from bot.testing.slack.web_api import WebApi


def client_of(slack: SlackTwin, token: str | None = None) -> AsyncWebClient:
    return AsyncWebClient(token=token or slack.bot_token, base_url=slack.api_url)


@pytest.mark.parametrize("how", ["params", "data", "json"])
async def test_arguments_are_read_from_query_form_and_json_alike(how: str) -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        args = {"channel": "C1", "text": "hi"}
        headers = {"Authorization": f"Bearer {slack.bot_token}"}
        async with aiohttp.ClientSession() as session:
            url = slack.api_url + "chat.postMessage"
            kwargs = {how: args}
            async with session.post(url, headers=headers, **kwargs) as answer:  # type: ignore[arg-type]
                body = await answer.json()

    assert (body["ok"], body["message"]["text"]) == (True, "hi")


@pytest.mark.malformed
@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"channel": "C9", "text": "x"}, "channel_not_found"),
        ({"channel": "C1"}, "no_text"),
        ({"channel": "C1", "text": "x", "thread_ts": "1.2"}, "invalid_thread_ts"),
        (
            {"channel": "C1", "text": "x", "metadata": {"event_type": "a"}},
            "invalid_metadata_format",
        ),
        (
            {"channel": "C1", "blocks": [{"type": "markdown", "text": "x" * 12_001}]},
            "msg_blocks_too_long",
        ),
    ],
)
async def test_a_wrong_call_is_http_200_and_counted(args: dict[str, object], error: str) -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        with pytest.raises(SlackApiError) as caught:
            await client_of(slack).api_call("chat.postMessage", json=dict(args))

        assert caught.value.response.status_code == 200
        assert caught.value.response["error"] == error
        assert slack.web.refused == {f"chat.postMessage:{error}": 1}


async def test_a_wrong_token_is_refused() -> None:
    async with SlackTwin() as slack:
        with pytest.raises(SlackApiError, match="invalid_auth"):
            await client_of(slack, "xoxb-wrong").auth_test()


async def test_calls_over_the_limit_get_429_with_retry_after() -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        slack.web.limits["chat.postMessage"] = (1, 5.0)
        client = client_of(slack)
        await client.chat_postMessage(channel="C1", text="one")
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(channel="C1", text="two")

        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "5"


async def test_a_text_over_40_000_characters_is_cut_with_a_warning() -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        answer = await client_of(slack).chat_postMessage(channel="C1", text="x" * 40_001)

        assert answer["warning"] == "message_truncated"
        assert slack.messages("C1") == ["x" * 40_000]


async def test_metadata_is_kept_and_shown_only_on_request() -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        client, mark = client_of(slack), {"event_type": "e", "event_payload": {"token": "t"}}
        await client.chat_postMessage(channel="C1", text="x", metadata=mark)
        bare = await client.conversations_history(channel="C1")
        full = await client.conversations_history(channel="C1", include_all_metadata=True)

    assert "metadata" not in bare["messages"][0]
    assert full["messages"][0]["metadata"] == mark


async def test_ephemeral_answers_reactions_and_deletions_are_kept_apart() -> None:
    async with SlackTwin() as slack:
        slack.add_channel("C1")
        slack.add_user("U1")
        slack.scopes.add("reactions:write")
        client = client_of(slack)
        await client.chat_postEphemeral(channel="C1", user="U1", text="only you")
        posted = await client.chat_postMessage(channel="C1", text="gone soon")
        await client.reactions_add(channel="C1", timestamp=posted["ts"], name="eyes")
        await client.chat_delete(channel="C1", ts=posted["ts"])

        assert slack.messages("C1") == []
        assert [(each.text, each.only_for) for each in slack.ephemeral] == [("only you", "U1")]
        assert slack.reactions == [("C1", posted["ts"], "eyes")]


def test_the_twin_starts_with_the_platforms_numbers() -> None:
    assert WebApi(SlackTwin()).limits["chat.update"] == (50, 60.0)
