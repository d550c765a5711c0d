"""A bot under load, in a process of its own: the product with a platform that costs nothing.

It reads a question a line on stdin (JSON: `user`, `number`, `text`) and tells on stdout what
became of it: `{"receipt": …, "number": …}`, `seen` at the first sign and `said` for each text.
The model answers with what was asked, `model_s` later. Ends when stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.chat.types import (
    NO_OFFERS,
    AdapterError,
    Attachment,
    Author,
    Draft,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotAccepted,
    NotOurs,
    Offers,
    Receipt,
    ReplyFile,
    always,
)
from adapters.models.scripted import Reply, ScriptedBackend, Step
from agents.ports import ModelBackend, ModelRequest
from agents.prompts.planner import said_in
from agents.routing import Route, Router
from bot.app import open_bot
from bot.logs import configure_logs
from bot.settings import load_settings
from bot.stores import open_stores
from tools.identity import ConversationKey, tenant_of

TENANT = tenant_of("browser", "load")
_LINE_BYTES = 2**20
_RESEND_AFTER_S = (0.5, 1.0, 2.0, 5.0)


def tell(**fact: Any) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


@dataclass
class Crowd:
    """Many people, each in a conversation of their own; stdin speaks for all of them."""

    name: str = "browser"
    connected: bool = True
    limits: Limits = Limits(part_chars=4000, edits_per_window=5, window_s=1)  # noqa: RUF009

    async def run(self, inbox: Inbox) -> None:
        reader = asyncio.StreamReader(limit=_LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        async with asyncio.TaskGroup() as group:
            async for line in reader:
                # Beside each other, as a platform delivers them.
                group.create_task(self._accept(inbox, json.loads(line)), name="crowd")

    async def _accept(self, inbox: Inbox, asked: dict[str, Any]) -> None:
        number = str(asked["number"])
        if asked["text"] == "tasks":
            tell(tasks=len(asyncio.all_tasks()))
            return
        key = ConversationKey(TENANT, "dm", asked["user"])
        author = Author("operator", "operator")
        sent_at = float(asked["number"])
        message = Message(number, self.name, key, author, asked["text"], sent_at, number, "dm")
        tell(receipt=(await self._taken(inbox, message)).value, number=asked["number"])

    async def _taken(self, inbox: Inbox, message: Message) -> Receipt:
        """A platform sends again what was not acknowledged."""
        for wait_s in _RESEND_AFTER_S:
            with contextlib.suppress(NotAccepted):
                return await inbox.accept(message)
            await asyncio.sleep(wait_s)
        return await inbox.accept(message)

    async def answer_only(self) -> None:
        await asyncio.Event().wait()

    def reply(self, message: Message, *, may_show: MayShow = always) -> CrowdReply:
        return CrowdReply(int(message.event_id), may_show)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        return None

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        raise AdapterError("no files here")


@dataclass
class CrowdReply:
    number: int
    may_show: MayShow

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        tell(seen=self.number)
        return str(self.number)

    def show(self, draft: Draft) -> None:
        return None

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        if not self.may_show():
            raise NotOurs("browser")
        tell(said=text, number=self.number)
        return str(self.number)

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        return await self.deliver(index, file.content.decode(), token=token)

    async def remove(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


def echo(model_s: float) -> ModelBackend:
    def policy(request: ModelRequest) -> Reply:
        backend.requests.clear()  # it keeps them for tests; here that would be the leak
        asked = said_in(request.messages[-1].text) or ""
        answer = {"action": "final", "arguments": {"answer": f"You said: {asked}"}}
        return Step({"thought": "", "step": answer}, chunk=0, delay_s=model_s)

    backend = ScriptedBackend("echo", policy)
    return backend


async def main(redis_url: str, prefix: str, model_s: float) -> None:
    configure_logs(level="error", form="json")
    settings = load_settings(
        environ={},
        overrides={
            "redis.url": redis_url,
            "redis.prefix": prefix,
            "redis.allow_volatile": True,
            "limits.max_parts": 100,
        },
    )
    model = echo(model_s)

    async def load() -> ModelBackend:
        return model

    router = Router({"planner": [Route("echo", "scripted", "echo", "local", load)]})
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [Crowd()], router=router) as bot,
    ):
        tell(ready=True)
        await bot.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
