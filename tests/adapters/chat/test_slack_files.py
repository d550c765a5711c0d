from __future__ import annotations

import pytest
from msgspec.structs import replace

from adapters.chat.types import AttachmentError, Message
from tests.adapters.chat.slack_bot import Bench, running


async def with_file(
    bench: Bench, name: str = "error.png", content: bytes = b"\x89PNG.."
) -> Message:
    await bench.slack.say("U1", "D1", "look", files=[(name, content)])
    return (await bench.heard())[0]


@pytest.mark.parametrize("name", ["error.png", "page.html"])
async def test_a_file_is_fetched_with_the_bots_token(name: str) -> None:
    async with running() as bench:
        message = await with_file(bench, name)
        content = await bench.adapter.fetch(message.attachments[0], max_bytes=1000)

    assert content == b"\x89PNG.."


async def test_a_file_shared_from_another_company_is_looked_up_first() -> None:
    async with running() as bench:
        message = await with_file(bench)
        attachment = replace(message.attachments[0], locator="id:")
        content = await bench.adapter.fetch(attachment, max_bytes=1000)

    assert content == b"\x89PNG.."


@pytest.mark.parametrize("name", ["error.png", "page.html"])
async def test_a_sign_in_page_in_place_of_a_file_names_the_missing_scope(name: str) -> None:
    async with running() as bench:
        bench.slack.scopes -= {"files:read"}
        message = await with_file(bench, name)
        with pytest.raises(AttachmentError, match="missing the files:read scope"):
            await bench.adapter.fetch(message.attachments[0], max_bytes=1000)


@pytest.mark.parametrize("claimed", [5_000_000, 10])
async def test_a_file_over_the_limit_is_refused_whatever_size_it_claims(claimed: int) -> None:
    async with running() as bench:
        message = await with_file(bench, content=b"x" * 5_000_000)
        attachment = message.attachments[0]
        lying = replace(attachment, size_bytes=claimed)
        with pytest.raises(AttachmentError, match="the limit is 1 MB"):
            await bench.adapter.fetch(lying, max_bytes=1024 * 1024)


async def test_the_token_is_sent_to_slack_only() -> None:
    async with running() as bench:
        message = await with_file(bench)
        attachment = message.attachments[0]
        bench.slack.redirects[attachment.attachment_id] = bench.slack.base_url + "/elsewhere"
        with pytest.raises(AttachmentError, match="files:read"):
            await bench.adapter.fetch(attachment, max_bytes=1000)
        foreign = replace(attachment, locator="http://127.0.0.1:9/x.png")
        with pytest.raises(AttachmentError, match="outside Slack"):
            await bench.adapter.fetch(foreign, max_bytes=1000)

        assert len(bench.slack.file_tokens_seen) == 1
