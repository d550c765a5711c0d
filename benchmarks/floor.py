"""What a turn costs with no framework at all: the references of the turn benchmark.

A turn reads 20 messages from Redis, streams a planned call, "runs" the tool, streams an answer
of 64 tokens and appends two messages to Redis.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import aiohttp
import msgspec
from redis import asyncio as redis_asyncio

HISTORY = 20
MESSAGE = "x" * 200
QUESTION = "What is 17*23?"
Turn = Callable[[int], Awaitable[None]]


class _DeltaBody(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _DeltaBody


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_chunks = msgspec.json.Decoder(_Chunk)


async def fill_history(redis: redis_asyncio.Redis, conversations: int) -> None:
    """Every conversation starts with the same 20 messages."""
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(conversations):
            messages = [
                json.dumps({"role": ("user", "assistant")[n % 2], "content": MESSAGE})
                for n in range(HISTORY)
            ]
            pipeline.delete(f"bench:{number}")
            pipeline.rpush(f"bench:{number}", *messages)
        await pipeline.execute()


def aiohttp_turn(session: aiohttp.ClientSession, redis: redis_asyncio.Redis, url: str) -> Turn:
    """The practical floor: aiohttp, msgspec and redis-py, nothing else."""

    async def call(messages: list[msgspec.Raw]) -> str:
        body = msgspec.json.encode({"model": "m", "stream": True, "messages": messages})
        text: list[str] = []
        async with session.post(f"{url}/chat/completions", data=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    choices = _chunks.decode(line[6:]).choices
                    text.extend(choice.delta.content or "" for choice in choices)
        return "".join(text)

    async def turn(number: int) -> None:
        key = f"bench:{number}"
        history = [msgspec.Raw(item) for item in await redis.lrange(key, -HISTORY, -1)]
        asked = msgspec.Raw(msgspec.json.encode({"role": "user", "content": QUESTION}))
        plan = await call([*history, asked])
        result = {"role": "user", "content": "Result of calculate #1.1: 391"}
        answer = await call([*history, asked, msgspec.Raw(msgspec.json.encode(result))])
        said = msgspec.json.encode({"role": "assistant", "content": plan + answer})
        await redis.rpush(key, bytes(asked), said)
        await redis.ltrim(key, -HISTORY, -1)

    return turn


def sdk_turn(client: Any, redis: redis_asyncio.Redis) -> Turn:
    """The same loop over the openai SDK; `client` is its `AsyncOpenAI`."""

    async def call(messages: list[dict[str, str]]) -> str:
        text: list[str] = []
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        async for chunk in stream:
            text.extend(choice.delta.content or "" for choice in chunk.choices)
        return "".join(text)

    async def turn(number: int) -> None:
        key = f"bench:{number}"
        history = [json.loads(item) for item in await redis.lrange(key, -HISTORY, -1)]
        asked = {"role": "user", "content": QUESTION}
        plan = await call([*history, asked])
        result = {"role": "user", "content": "Result of calculate #1.1: 391"}
        answer = await call([*history, asked, result])
        said = {"role": "assistant", "content": plan + answer}
        await redis.rpush(key, json.dumps(asked), json.dumps(said))
        await redis.ltrim(key, -HISTORY, -1)

    return turn


class Timing(msgspec.Struct, frozen=True):
    """Of one implementation at one concurrency."""

    turns_per_s: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float


async def timed(turn: Turn, numbers: Iterator[int], *, in_flight: int, turns: int) -> Timing:
    """Run `turns` turns, each in a new conversation, with `in_flight` at any time."""
    seconds: list[float] = []
    left = count()

    async def lane() -> None:
        while next(left) < turns:
            began = time.perf_counter()
            await turn(next(numbers))
            seconds.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(lane())
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    seconds.sort()
    return Timing(
        turns_per_s=len(seconds) / elapsed,
        p50_ms=1000 * seconds[len(seconds) // 2],
        p95_ms=1000 * seconds[int(len(seconds) * 0.95)],
        cpu_ms=1000 * cpu / len(seconds),
    )
