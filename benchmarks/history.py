"""What a turn costs in Redis as the conversation grows, beside two well-known histories.

The same question and answer go through all three. Bytes are the server's own count of what
came in and went out; of langgraph's saver, which lives in the process, what it serialises.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from adapters.stores.connection import Redis, connect
from adapters.stores.memory import encode_turn
from agents.turns import Text, Turn
from benchmarks.floor import MESSAGE, QUESTION
from benchmarks.model_server import ANSWER
from benchmarks.ours import Product, conversation, product
from benchmarks.report import Table
from benchmarks.turn import model_server

SIZES = (10, 100, 1_000, 10_000)
TURNS = 20  # of each implementation at each size, one after another
_ROLES: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")


class Cost(msgspec.Struct, frozen=True):
    """Of one turn; None where there is no Redis."""

    round_trips: float | None
    written_bytes: float
    read_bytes: float | None


async def measure(*, sizes: Sequence[int] = SIZES, turns: int = TURNS) -> list[Table]:
    table = Table(
        f"A turn's cost in Redis by stored messages of {len(MESSAGE)} characters",
        ("stored messages", "implementation", "round trips", "bytes written", "bytes read"),
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fl-bench-")))
        model = await stack.enter_async_context(model_server())
        ours = await stack.enter_async_context(product(folder, model, conversations=0))
        redis_url = f"unix://{folder}/redis/redis.sock"
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        await ours.turn(-1)  # connections and scripts are there from here on
        for size in sizes:
            costs = {
                "firstline": await _ours(ours, redis, size, turns),
                "langchain-community RedisChatMessageHistory": await _langchain(
                    redis_url, redis, size, turns
                ),
                "langgraph InMemorySaver (no Redis)": await _langgraph(size, turns),
            }
            for name, cost in costs.items():
                table.add(f"{size:,}", name, *_cells(cost))
    return [table]


def _cells(cost: Cost | None) -> tuple[str, ...]:
    if cost is None:
        return ("not installed",) * 3
    trips = "none" if cost.round_trips is None else f"{cost.round_trips:.1f}"
    read = "none" if cost.read_bytes is None else f"{cost.read_bytes:,.0f}"
    return trips, f"{cost.written_bytes:,.0f}", read


async def _ours(ours: Product, redis: Redis, size: int, turns: int) -> Cost:
    """The whole turn: dedupe, claim, steps, outbox, memory, end; not only its history."""
    first = 10**8 + size * 1000  # names of one length, whatever the size
    records = [
        encode_turn(Turn(_ROLES[n % 2], (Text(MESSAGE),), said_at=float(n))) for n in range(size)
    ]
    for number in range(first, first + turns):
        await redis.rpush(ours.stores.keys.memory(conversation(number)), *records)
    trips, before = ours.stores.batcher.round_trips, await _traffic(redis)
    for number in range(first, first + turns):
        await ours.turn(number)
    written, read = _difference(before, await _traffic(redis))
    # Without the worker's blocking read, which is sent before there is a turn.
    trips = ours.stores.batcher.round_trips - trips
    return Cost(trips / turns, written / turns, read / turns)


async def _langchain(url: str, redis: Redis, size: int, turns: int) -> Cost | None:
    """Read the history, add question and answer: what `RunnableWithMessageHistory` does."""
    try:
        from langchain_community.chat_message_histories import RedisChatMessageHistory
        from langchain_core.messages import AIMessage, HumanMessage
    except ImportError:
        return None

    def of(role: str, text: str) -> Any:
        return (HumanMessage if role == "user" else AIMessage)(content=text)

    histories = []
    for _ in range(turns):
        histories.append(RedisChatMessageHistory(f"bench-{secrets.token_hex(8)}", url=url))
        histories[-1].add_messages([of("user", MESSAGE)])
    one = await redis.lindex(histories[0].key, 0)
    assert one is not None
    for history in histories:
        await redis.lpush(history.key, *([one] * (size - 1)))

    def turn(history: RedisChatMessageHistory) -> None:
        assert len(history.messages) == size
        history.add_message(of("user", QUESTION))
        history.add_message(of("assistant", ANSWER))

    commands, before = await _calls(redis, "lrange", "lpush"), await _traffic(redis)
    for history in histories:
        await asyncio.to_thread(turn, history)
    written, read = _difference(before, await _traffic(redis))
    trips = await _calls(redis, "lrange", "lpush") - commands
    for history in histories:
        await redis.delete(history.key)
        history.redis_client.close()
    return Cost(trips / turns, written / turns, read / turns)


async def _langgraph(size: int, turns: int) -> Cost | None:
    """What the saver serialises, since a saver over a store would have to write that."""
    try:
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
        from langgraph.graph import START, MessagesState, StateGraph
    except ImportError:
        return None

    class Counting(JsonPlusSerializer):
        written = 0

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            kind, body = super().dumps_typed(obj)
            self.written += len(body)
            return kind, body

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("assistant", ANSWER)]}

    counting = Counting()
    build: Callable[[Any], Any] = StateGraph
    graph = build(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    app = graph.compile(checkpointer=InMemorySaver(serde=counting))
    thread = {"configurable": {"thread_id": f"t{size}"}}
    history = [(_ROLES[n % 2], MESSAGE) for n in range(size)]
    await app.aupdate_state(thread, {"messages": history})
    few = max(1, min(turns, 20_000 // size))  # it takes its time at ten thousand
    counting.written = 0
    for _ in range(few):
        await app.ainvoke({"messages": [("user", QUESTION)]}, thread)
    return Cost(None, counting.written / few, None)


async def _calls(redis: Redis, *commands: str) -> int:
    stats: dict[str, Any] = await redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in commands)


class _Traffic(msgspec.Struct, frozen=True):
    written: int
    read: int
    own_written: int  # what asking costs, to be taken off
    own_read: int


async def _traffic(redis: Redis) -> _Traffic:
    first: dict[str, Any] = await redis.info("stats")
    second: dict[str, Any] = await redis.info("stats")
    written, read = (second[name] for name in ("total_net_input_bytes", "total_net_output_bytes"))
    return _Traffic(
        written,
        read,
        written - first["total_net_input_bytes"],
        read - first["total_net_output_bytes"],
    )


def _difference(before: _Traffic, after: _Traffic) -> tuple[int, int]:
    """Written and read between the two, without the two questions that ended it."""
    return (
        after.written - before.written - 2 * after.own_written,
        after.read - before.read - 2 * after.own_read,
    )
