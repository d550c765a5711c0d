"""A small bot behind the real page: it streams, uses a tool and reads an image."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.chat.browser import BrowserAdapter, ShownTurn, ThreadInfo
from adapters.chat.types import Activity, Command, Draft, Message, Receipt
from tests.contracts.chat import NothingChanges, running
from tests.contracts.serving import serving
from tools.identity import ConversationKey

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEMONSTRATION = (
    "Demonstration model: too small for real work. firstline models pull phi-3.5-mini"
    " brings the real thing.",
)
TOOL = Activity("calculate", "done", "17*23 → 391")
ANSWER = """\
17 × 23 is **391**.

- computed by `calculate`, not guessed
- checked *twice*

| factor | value |
|---|---|
| a | 17 |
| b | 23 |

```python
print(17 * 23)  # 391
```

More at [the manual](https://docs.example.com/math)."""


@dataclass
class Memory:
    """What outlives a restart of the bot."""

    turns: dict[str, list[ShownTurn]] = field(default_factory=dict)
    threads: dict[str, ThreadInfo] = field(default_factory=dict)

    async def history(self, key: ConversationKey) -> Sequence[ShownTurn]:
        return tuple(self.turns.get(key.channel, ()))

    async def list_threads(self) -> Sequence[ThreadInfo]:
        return tuple(self.threads.values())

    async def remember(self, info: ThreadInfo) -> None:
        self.threads[info.thread_id] = info


class EchoBot(NothingChanges):
    """An inbox that answers through the adapter. `pause_s` lies between two drafts."""

    def __init__(self, memory: Memory, *, pause_s: float = 0.02) -> None:
        self.answer, self.pause_s = ANSWER, pause_s
        self.accepted: list[Message] = []
        self.fetched: list[bytes] = []
        self.answers = Receipt.ACCEPTED
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self._memory, self._turns = memory, asyncio.TaskGroup()
        self.adapter: BrowserAdapter

    async def accept(self, message: Message) -> Receipt:
        if self.answers is not Receipt.ACCEPTED:
            return self.answers
        if any(known.event_id == message.event_id for known in self.accepted):
            return Receipt.DUPLICATE
        self.accepted.append(message)
        self._turns.create_task(self._turn(message), name="turn")
        return Receipt.ACCEPTED

    async def command(self, command: Command) -> str:
        return f"The planner is now `{command.argument}`."

    async def _turn(self, message: Message) -> None:
        reply = self.adapter.reply(message)
        await reply.open(None)
        for file in message.attachments:
            self.fetched.append(await self.adapter.fetch(file, max_bytes=10**6))
        reply.show(Draft("", (Activity("calculate", "running", "17*23"),)))
        await asyncio.sleep(self.pause_s)
        for end in range(0, len(self.answer) // 2, 12):
            reply.show(Draft(self.answer[:end], (TOOL,)))
            await asyncio.sleep(self.pause_s)
        await self.may_finish.wait()
        self._memory.turns.setdefault(message.conversation.channel, []).extend(
            [
                ShownTurn("user", message.text, message.sent_at),
                ShownTurn("assistant", self.answer, message.sent_at + 1, (TOOL,)),
            ]
        )
        await reply.deliver(0, self.answer, token="t0")
        await reply.aclose()


@asynccontextmanager
async def bot_at_work(
    folder: Path, *, memory: Memory | None = None, port: int = 0, **options: Any
) -> AsyncIterator[tuple[str, EchoBot]]:
    """The page on a loopback port; yields its address and the bot."""
    memory = memory or Memory()
    bot = EchoBot(memory)
    bot.adapter = BrowserAdapter(
        upload_dir=folder / "uploads",
        history=memory.history,
        threads=memory.list_threads,
        remember_thread=memory.remember,
        banner=DEMONSTRATION,
        **options,
    )
    async with bot._turns, running(bot.adapter, bot), serving(bot.adapter.routes, port=port) as at:
        yield at, bot
