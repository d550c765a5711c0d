"""What is kept of a message's files: the bytes a model saw, a document's whole text, by hash."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from adapters.chat.types import Attachment
from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend, demo_policy
from agents.ports import ModelBackend
from agents.routing import Route, Router
from bot.app import open_bot
from bot.stores import open_stores
from tests import documents
from tests.bot.test_bot import Chat, message, settings_in, until
from tools.labels import Integrity

TEXT = "Each chair costs 80 euros. " * 800


@dataclass
class Files(Chat):
    """A platform whose messages carry files."""

    files: dict[str, bytes] = field(default_factory=dict)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return self.files[attachment.locator]


async def test_the_very_frames_a_model_saw_and_a_whole_text_are_kept(tmp_path: Path) -> None:
    chat = Files(files={"clip.mp4": documents.video(), "notes.csv": TEXT.encode()})
    wide = replace(DEFAULT_CAPABILITIES, context_tokens=32_768)
    backend = ScriptedBackend("scripted", demo_policy, capabilities=wide)

    async def load() -> ModelBackend:
        return backend

    route = Route("scripted", "scripted", "demo", "local", load)
    router = Router({"planner": [route], "vision": [route]})
    settings, asked = settings_in(tmp_path), message("What are these?")
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router) as bot,
    ):
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop), name="bot")
            files = [Attachment(name, name, "", len(chat.files[name]), name) for name in chat.files]
            await bot.inbox.accept(msgspec.structs.replace(asked, attachments=tuple(files)))
            await until(lambda: chat.delivered)
            stop.set()
        turn = (await stores.memory.turns(asked.conversation))[0]
        (image,), (document,) = turn.images, turn.documents
        hashes = (image.sha256, *image.more)
        frames = [await stores.blobs.get(asked.conversation, sha256) for sha256 in hashes]
        whole = await stores.blobs.get(asked.conversation, document.sha256)

    looked = next(request for request in backend.requests if request.messages[-1].images)
    shown = [picture.data for picture in looked.messages[-1].images]
    assert [frame.data for frame in frames if frame] == shown
    assert [hashlib.sha256(data).hexdigest() for data in shown] == list(hashes)
    assert whole is not None
    assert whole.data == TEXT.encode()
    assert (document.kind, document.whole) == ("CSV", False)
    assert TEXT.startswith(document.text)
    assert turn.label.integrity is whole.label.integrity is Integrity.UNTRUSTED
    assert "Of “notes.csv” I read only the beginning" in chat.delivered["t1-1"][-1]
