"""Framework time of a turn, beside a bare loop and the openai SDK, interleaved in one run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil

from adapters.stores.connection import connect
from benchmarks import floor
from benchmarks.floor import Timing, Turn, timed
from benchmarks.ours import product
from benchmarks.report import Table

IN_FLIGHT = (1, 32, 256)
BUSY = 32  # at 256 all turns begin in the same instant, and one core is what they wait for
REPEATS = 3
FLOOR, SDK, OURS = "bare loop", "openai SDK loop", "firstline"


async def measure(*, turns: int = 512) -> list[Table]:
    """The tables; `turns` of each implementation at each number in flight, three times."""
    total = (turns + max(IN_FLIGHT)) * len(IN_FLIGHT) * REPEATS
    results: dict[tuple[str, int], list[Timing]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fl-bench-")))
        url = await stack.enter_async_context(model_server())
        ours = await stack.enter_async_context(product(folder, url, conversations=total))
        redis = connect(f"unix://{folder}/redis/redis.sock", max_connections=512)
        stack.push_async_callback(redis.aclose)
        await floor.fill_history(redis, total)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        loops: dict[str, Turn] = {FLOOR: floor.aiohttp_turn(session, redis, url)}
        if (client := _sdk_client(url)) is not None:
            loops[SDK] = floor.sdk_turn(client, redis)
        loops[OURS] = ours.turn
        numbers: dict[str, Iterator[int]] = {name: count() for name in loops}
        _share_cores()
        for turn_name, turn in loops.items():  # warm: connections, caches, compiled schemas
            await timed(turn, numbers[turn_name], in_flight=8, turns=16)
        trips, turns_before = ours.stores.batcher.round_trips, len(ours.chat.texts)
        alone, signs = 0.0, list[float]()
        for _ in range(REPEATS):
            for in_flight in IN_FLIGHT:
                for name, turn in loops.items():
                    few = max(turns // 8, 48) if in_flight == 1 or name == SDK else turns
                    timing = await timed(turn, numbers[name], in_flight=in_flight, turns=few)
                    results.setdefault((name, in_flight), []).append(timing)
                    if name == OURS and in_flight == BUSY:
                        signs += ours.chat.first_sign_ms[-few:]
                    if name == OURS and in_flight == 1:
                        done = len(ours.chat.texts) - turns_before
                        alone = (ours.stores.batcher.round_trips - trips) / done
                    trips = ours.stores.batcher.round_trips
                    turns_before = len(ours.chat.texts)
        signs.sort()
        if client is not None:
            await client.close()
    return [_turn_table(results), _summary(results, signs, alone)]


def _turn_table(results: dict[tuple[str, int], list[Timing]]) -> Table:
    table = Table(
        "A turn: 20 messages of history, one planned tool call, an answer of 64 tokens",
        ("in flight", "implementation", "turns/s", "p50 ms", "p95 ms", "CPU ms a turn"),
    )
    for in_flight in IN_FLIGHT:
        for name in (FLOOR, SDK, OURS):
            if (name, in_flight) in results:
                row = _middle(results[name, in_flight])
                table.add(
                    in_flight,
                    name,
                    f"{row.turns_per_s:,.0f}",
                    f"{row.p50_ms:.1f}",
                    f"{row.p95_ms:.1f}",
                    f"{row.cpu_ms:.2f}",
                )
    return table


def _summary(
    results: dict[tuple[str, int], list[Timing]], signs: list[float], round_trips: float
) -> Table:
    most = max(IN_FLIGHT)
    ours, bare = _middle(results[OURS, most]), _middle(results[FLOOR, most])
    table = Table("Against the targets", ("measure", "target", "here"))
    table.add(
        f"turns/s against the bare loop, {most} in flight",
        "at least 0.5",
        f"{ours.turns_per_s / bare.turns_per_s:.2f}",
    )
    table.add(
        f"CPU a turn against the bare loop, {most} in flight",
        "at most 2.0",
        f"{ours.cpu_ms / bare.cpu_ms:.2f}",
    )
    if (SDK, most) in results:
        sdk = _middle(results[SDK, most])
        ratio = ours.turns_per_s / sdk.turns_per_s
        table.add("turns/s against the openai SDK loop", "at least 10", f"{ratio:.1f}")
    p95 = signs[int(len(signs) * 0.95)]
    table.add(f"first visible sign, p95, {BUSY} in flight", "under 300 ms", f"{p95:.0f} ms")
    table.add("Redis round trips of a turn alone", "few", f"{round_trips:.1f}")
    return table


def _middle(timings: list[Timing]) -> Timing:
    return Timing(
        *(median(getattr(each, name) for each in timings) for name in Timing.__struct_fields__)
    )


def _sdk_client(url: str) -> Any:
    try:
        from openai import AsyncOpenAI
    except ImportError:
        print("openai is not installed: its loop is left out")
        return None
    return AsyncOpenAI(base_url=url, api_key="none")


@asynccontextmanager
async def model_server(*, delay_ms: float = 0.0) -> AsyncIterator[str]:
    """The fixed model in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "benchmarks.model_server", f"--delay-ms={delay_ms}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        process.terminate()
        await process.wait()


def _share_cores() -> None:
    """This process on one core; the model and Redis on the others, where there are others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    for child in psutil.Process().children(recursive=True):
        child.cpu_affinity(cores[1:])
    psutil.Process().cpu_affinity(cores[:1])
