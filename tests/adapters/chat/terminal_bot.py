"""A bot at a real terminal, started as a process of its own: `python -m …terminal_bot`."""

from __future__ import annotations

import asyncio
import contextlib

from adapters.chat.terminal import TerminalAdapter
from adapters.chat.types import Activity, Command, Draft, Message, Receipt
from tests.contracts.chat import NothingChanges


class SmallBot(NothingChanges):
    """Answers by streaming; `/x y` is repeated."""

    def __init__(self, adapter: TerminalAdapter, turns: asyncio.TaskGroup) -> None:
        self._adapter, self._turns = adapter, turns

    async def accept(self, message: Message) -> Receipt:
        self._turns.create_task(self._turn(message), name="turn")
        return Receipt.ACCEPTED

    async def command(self, command: Command) -> str:
        return f"command {command.name} with {command.argument}"

    async def _turn(self, message: Message) -> None:
        answer = f"You said: {message.text}.\nThat is all."
        if message.text == "markdown":
            answer = "# Title\n\n" + "word " * 60 + "\n\n- **bold** item\n\nThe end."
        reply = self._adapter.reply(message)
        async with contextlib.aclosing(reply):
            await reply.open(None)
            reply.show(Draft(status="planning"))
            step = Activity("calculate", "done", "17*23 → 391")
            for end in range(0, len(answer), 4):
                reply.show(Draft(answer[:end], (step,)))
                await asyncio.sleep(0.01)
            await reply.deliver(0, answer, token="t0")


async def main() -> None:
    adapter = TerminalAdapter(channel="c1", banner=["Demonstration model"])
    async with asyncio.TaskGroup() as turns:
        await adapter.run(SmallBot(adapter, turns))


if __name__ == "__main__":
    asyncio.run(main())
