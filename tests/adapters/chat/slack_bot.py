"""The adapter at work on the fake Slack, with an inbox that records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from adapters.chat.slack import SlackAdapter
from adapters.chat.slack_stream import LIVES_S
from adapters.chat.types import Command, DeliveryError, Message, NotAccepted, Press, Receipt
from bot.testing.slack import SlackTwin


@dataclass(slots=True)
class RecordingInbox:
    """Keeps each event once, as the ledger does; refuses the first `refusals`."""

    refusals: int = 0
    slow_s: float = 0.0
    answer: Receipt = Receipt.ACCEPTED
    seen: list[Message] = field(default_factory=list)
    kept: dict[str, Message] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    revised: list[tuple[Message, float]] = field(default_factory=list)
    retracted: list[tuple[str, str, str]] = field(default_factory=list)
    with_answers: list[bool] = field(default_factory=list)
    presses: list[Press] = field(default_factory=list)
    told: str = ""  # to who presses a button
    marks_refused: int = 0
    heard: dict[str, float] = field(default_factory=dict)

    async def accept(self, message: Message) -> Receipt:
        self._refuse()
        self.seen.append(message)
        if self.answer is not Receipt.ACCEPTED:
            return self.answer
        for place in (message.conversation.channel, ""):
            self.heard[place] = max(self.heard.get(place, 0.0), message.sent_at)
        first = self.kept.setdefault(message.event_id, message) is message
        return Receipt.ACCEPTED if first else Receipt.DUPLICATE

    async def revise(self, message: Message, *, edited_at: float) -> None:
        self._refuse()
        self.revised.append((message, edited_at))

    async def retract(
        self, adapter: str, tenant: str, event_id: str, *, with_answer: bool = True
    ) -> None:
        self._refuse()
        self.retracted.append((adapter, tenant, event_id))
        self.with_answers.append(with_answer)

    async def suggest(self, command: Command) -> Sequence[str]:
        return ()

    async def press(self, press: Press) -> str:
        self.presses.append(press)
        await asyncio.sleep(self.slow_s)
        return self.told

    async def marks(self, tenant: str) -> dict[str, float]:
        if self.marks_refused:
            self.marks_refused -= 1
            raise NotAccepted
        return dict(self.heard)

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NotAccepted

    async def command(self, command: Command) -> str:
        self.commands.append(command)
        await asyncio.sleep(self.slow_s)
        return f"{command.name} <set> to {command.argument}"


@dataclass(slots=True)
class Bench:
    slack: SlackTwin
    adapter: SlackAdapter
    inbox: RecordingInbox

    async def heard(self, count: int = 1) -> list[Message]:
        await self.slack.wait_for(lambda: len(self.inbox.kept) >= count)
        return list(self.inbox.kept.values())

    async def quiet(self) -> None:
        """Wait until the bot has acknowledged all that happened so far."""
        sent = list(self.slack.socket.delivered)
        await self.slack.wait_for(lambda: all(each.acked.is_set() for each in sent))


def adapter_for(
    slack: SlackTwin,
    *,
    updates_per_minute: int = 45,
    settle_s: float = 0.05,
    feedback: bool = True,
    streaming: bool = True,
    stream_lives_s: float = LIVES_S,
) -> SlackAdapter:
    return SlackAdapter(
        bot_token=slack.bot_token,
        app_token=slack.app_token,
        api_url=slack.api_url,
        updates_per_minute=updates_per_minute,
        edit_every_s=0.02,
        settle_s=settle_s,
        backfill_again_s=0.2,
        agent=slack.is_agent,
        feedback=feedback,
        streaming=streaming,
        stream_lives_s=stream_lives_s,
    )


@contextlib.asynccontextmanager
async def running(
    inbox: RecordingInbox | None = None,
    *,
    agent: bool = False,
    feedback: bool = True,
    streaming: bool = True,
    stream_lives_s: float = LIVES_S,
) -> AsyncIterator[Bench]:
    async with SlackTwin() as slack:
        slack.is_agent = agent
        slack.add_user("U1")
        slack.add_channel("C1")
        slack.add_channel("D1", "im")
        adapter = adapter_for(
            slack, feedback=feedback, streaming=streaming, stream_lives_s=stream_lives_s
        )
        bench = Bench(slack, adapter, inbox or RecordingInbox())
        task = asyncio.create_task(bench.adapter.run(bench.inbox), name="slack adapter")
        try:
            await slack.socket.connected()
            yield bench
        finally:
            task.cancel()
            await asyncio.wait((task,), timeout=10)


async def insist(call: Callable[[], Awaitable[str]]) -> None:
    """As the worker does: what may pass by itself is tried again."""
    for _ in range(20):
        try:
            await call()
        except DeliveryError as error:
            if not error.retryable:
                raise
        else:
            return
    raise AssertionError("never delivered")
