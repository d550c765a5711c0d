"""Answers of more parts than may be posted, through the whole bot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from adapters.chat.types import DeliveryError, Limits, MayShow, Message, ReplyFile, always
from adapters.models.scripted import Reply, ScriptedBackend, Step
from agents.ports import ModelRequest
from tests.bot.test_bot import Chat, ChatReply, bot_with, message, settings_in

LONG = "\n\n".join(f"Paragraph {number} says little." for number in range(120))


def at_length(request: ModelRequest) -> Reply:
    step = {"action": "final", "arguments": {"answer": LONG}}
    return Step({"thought": "", "step": step}, chunk=0)


@dataclass
class ChatWithFiles(Chat):
    limits: Limits = Limits(part_chars=800, edits_per_window=5, window_s=1)  # noqa: RUF009
    files: list[ReplyFile] = field(default_factory=list)
    refusals: list[DeliveryError] = field(default_factory=list)

    def reply(self, message: Message, *, may_show: MayShow = always) -> Files:
        return Files(self, message.message_id, may_show)


@dataclass
class Files(ChatReply):
    chat: ChatWithFiles

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        if self.chat.refusals:
            raise self.chat.refusals.pop(0)
        self.chat.files.append(file)
        return f"{self.message_id}.{index}"


async def answers_of(chat: ChatWithFiles, folder: Path) -> list[str]:
    settings = settings_in(folder, **{"limits.max_parts": 2})
    model = ScriptedBackend("scripted", at_length)
    async with bot_with(chat, settings, model) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("Tell me everything."))
        async with asyncio.timeout(20):
            while not await bot.stores.ledger.closed(message("").conversation.tenant):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
    return chat.delivered["t1-1"]


async def test_what_is_past_the_cap_goes_along_as_a_file_with_the_whole_answer(
    tmp_path: Path,
) -> None:
    chat = ChatWithFiles()
    texts = await answers_of(chat, tmp_path)

    assert len(texts) == 2
    assert all(len(text) <= 800 for text in texts)
    assert "Paragraph 0 " in texts[0]
    assert "answer.md" in texts[1]
    [file] = chat.files
    assert file.name == "answer.md"
    assert file.content.decode().startswith(LONG)


async def test_a_platform_that_takes_no_file_is_told_so_in_its_place(tmp_path: Path) -> None:
    refusal = DeliveryError("browser", "missing_scope", retryable=False)
    chat = ChatWithFiles(refusals=[refusal])
    texts = await answers_of(chat, tmp_path)

    assert len(texts) == 3
    assert "could not add the file answer.md" in texts[2]
    assert chat.files == []


async def test_a_file_that_did_not_get_through_is_tried_again(tmp_path: Path) -> None:
    chat = ChatWithFiles(refusals=[DeliveryError("browser", "away", retryable=True)])
    texts = await answers_of(chat, tmp_path)

    assert len(texts) == 2
    assert len(chat.files) == 1
