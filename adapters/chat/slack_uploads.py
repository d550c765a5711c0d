"""A file into a Slack thread: an address, the bytes, and the share."""

from __future__ import annotations

import asyncio
from pathlib import PurePath
from typing import Any

import aiohttp

from adapters.chat.ours import only_while, request_tracing
from adapters.chat.pacing import Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_pacing import Pools, call_when_free
from adapters.chat.types import MayShow, ReplyFile

_TIMEOUT_S = 60.0


async def upload(
    api: SlackApi,
    pools: Pools,
    file: ReplyFile,
    *,
    token: str,
    channel: str,
    thread: str | None,
    may_show: MayShow,
) -> str:
    """Share the file once; returns its id. It is seen only after the last of the three steps.

    A share can carry no metadata, so `token` is in the name that the file is saved under.
    """
    args: dict[str, Any] = {"filename": _name(file, token), "length": len(file.content)}
    pool = pools.posts(channel)
    where = await call_when_free(
        api, "files.getUploadURLExternal", args, pool, Urgency.FINAL, may_show=may_show
    )
    file_id = str(where["file_id"])
    await _send(api, str(where["upload_url"]), file.content, may_show)
    args = {
        "files": [{"id": file_id, "title": file.name}],
        "channel_id": channel,
        "initial_comment": file.sentence,
    }
    args |= {"thread_ts": thread} if thread else {}
    await call_when_free(
        api, "files.completeUploadExternal", args, pool, Urgency.FINAL, may_show=may_show
    )
    return file_id


def shared(message: dict[str, Any], token: str) -> str:
    """The id of the file with this token that stands in `message`; empty if none does."""
    for file in message.get("files") or ():
        if token in str(file.get("name", "")):
            return str(file.get("id", ""))
    return ""


def _name(file: ReplyFile, token: str) -> str:
    path = PurePath(file.name)
    return f"{path.stem}-{token}{path.suffix}"


async def _send(api: SlackApi, url: str, content: bytes, may_show: MayShow) -> None:
    """The bytes to the address Slack gave; nothing is seen of them yet."""
    tracing = [request_tracing()]
    proxy = api.client.proxy
    try:
        async with asyncio.timeout(_TIMEOUT_S), aiohttp.ClientSession(trace_configs=tracing) as web:
            with only_while(may_show, "slack"):
                async with web.post(url, data=content, proxy=proxy) as answer:
                    status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise SlackCallError("slack", "file upload", "no_answer", retryable=True) from error
    if status != 200:
        word, again = f"http_{status}", status == 429 or status >= 500
        raise SlackCallError("slack", "file upload", word, retryable=again)
