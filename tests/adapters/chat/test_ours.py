"""A request of a reply that is not ours any more never reaches its platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from adapters.chat.ours import only_while, request_tracing
from adapters.chat.types import DeliveryError, NotOurs


class Platform:
    """Takes whatever comes on a socket; `raw` is all of it."""

    def __init__(self) -> None:
        self.raw = b""

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await reader.read(4096):
            self.raw += got
            if self.raw.endswith(b'{"text": "hello"}'):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()


@asynccontextmanager
async def platform() -> AsyncIterator[tuple[Platform, str]]:
    taken = Platform()
    async with await asyncio.start_server(taken.listen, "127.0.0.1", 0) as server:
        yield taken, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def post(session: aiohttp.ClientSession, url: str) -> str:
    """As an adapter calls: whatever fails is a `DeliveryError`."""
    try:
        async with session.post(url, json={"text": "hello"}) as answer:
            return await answer.text()
    except aiohttp.ClientError as error:
        raise DeliveryError("x", type(error).__name__, retryable=True) from error


async def test_a_reply_lost_while_its_request_was_made_ready_is_not_sent() -> None:
    looks = iter([True, False])
    async with (
        platform() as (taken, url),
        aiohttp.ClientSession(trace_configs=[request_tracing()]) as session,
    ):
        with pytest.raises(NotOurs), only_while(lambda: next(looks), "x"):
            await post(session, url)
        await asyncio.sleep(0.05)

    assert taken.raw == b""


async def test_a_reply_that_is_ours_is_sent_and_what_is_no_reply_is_not_asked_about() -> None:
    async with (
        platform() as (_, url),
        aiohttp.ClientSession(trace_configs=[request_tracing()]) as session,
    ):
        with only_while(lambda: True, "x"):
            assert await post(session, url) == "ok"
        with pytest.raises(NotOurs), only_while(lambda: False, "x"):
            await post(session, url)
        assert await post(session, url) == "ok"


async def test_a_platform_that_is_away_is_told_apart_from_a_reply_that_is_not_ours() -> None:
    async with aiohttp.ClientSession(trace_configs=[request_tracing()]) as session:
        with pytest.raises(DeliveryError) as refused, only_while(lambda: True, "x"):
            await post(session, "http://127.0.0.1:1/")

    assert not isinstance(refused.value, NotOurs)
