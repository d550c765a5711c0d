"""The page's HTTP side: files, the thread list, messages in, server-sent events out."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message as AsgiMessage

from adapters.chat.files import megabytes, too_large
from adapters.chat.page.guard import Guard, refuse
from adapters.chat.page.transcript import Reader, Thread
from adapters.chat.page.uploads import Uploads
from adapters.chat.safe_text import sound
from adapters.chat.typed_commands import parse_command
from adapters.chat.types import Attachment, Limits, NotAccepted, Receipt

_FILES = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_MAX_FILES = 8
_MAX_TEXT_BYTES = 1024 * 1024
_PACE_S = 0.05  # at most 20 updates a second for each page
_KEEPALIVE_S = 15.0
_REFUSED = {
    Receipt.DENIED: (403, "The bot does not take messages from you here."),
    Receipt.FULL: (429, "Too many messages wait already. Please send this one again later."),
}


class Served(Protocol):
    """What the routes need of the adapter."""

    @property
    def banner(self) -> Sequence[str]: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def uploads(self) -> Uploads: ...
    @property
    def closing(self) -> asyncio.Event: ...
    @property
    def page_token(self) -> str: ...
    def thread(self, thread_id: str) -> Thread: ...
    async def list_threads(self) -> Sequence[Any]: ...
    async def say(
        self, thread_id: str, event_id: str, text: str, files: tuple[Attachment, ...]
    ) -> Receipt: ...
    async def command(self, thread_id: str, name: str, argument: str) -> None: ...


class _TooMuch(Exception):
    """The request's body is over its limit."""


class PageRoutes:
    def __init__(self, adapter: Served, guard: Guard) -> None:
        self._adapter, self._guard = adapter, guard
        self._index = (_FILES / "index.html").read_text("utf-8")
        self._assets = {
            path.name: path.read_bytes() for path in _FILES.iterdir() if path.suffix in _TYPES
        }

    def all(self) -> list[Route]:
        asset, api = self._guard.asset, self._guard.api
        thread = "/api/threads/{thread_id}"
        return [
            Route("/", asset(self._page)),
            Route("/page/{name}", asset(self._asset)),
            Route("/api/threads", api(self._list)),
            Route(f"{thread}/events", api(self._events)),
            Route(f"{thread}/messages", api(self._messages), methods=["POST"]),
            Route("/api/uploads/{file_id}", api(self._upload)),
        ]

    async def _page(self, request: Request) -> Response:
        if not self._guard.may_enter(request):
            return refuse(403, "Open the page by the address that firstline printed.")
        limit = self._adapter.limits.max_attachment_bytes
        page = self._index.replace("{{token}}", self._adapter.page_token)
        response = HTMLResponse(page.replace("{{max_file_bytes}}", str(limit)))
        self._guard.admit(response)
        return response

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._assets.get(name)
        if content is None:
            return refuse(404, "There is no such file.")
        return Response(content, media_type=_TYPES[Path(name).suffix])

    async def _list(self, _: Request) -> Response:
        threads = msgspec.to_builtins(await self._adapter.list_threads())
        return JSONResponse({"banner": self._adapter.banner, "threads": threads})

    async def _upload(self, request: Request) -> Response:
        file_id, uploads = request.path_params["file_id"], self._adapter.uploads
        if found := await uploads.preview(file_id):
            return Response(found[0], media_type=found[1])
        if (name := request.query_params.get("save")) is None or (
            content := await uploads.offered(file_id)
        ) is None:
            return refuse(404, "This file is no longer kept.")
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"},
        )

    async def _events(self, request: Request) -> Response:
        thread_id = request.path_params["thread_id"]
        if not _ID.fullmatch(thread_id):
            return refuse(404, "There is no such thread.")
        thread = self._adapter.thread(thread_id)
        await thread.load()
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        known = thread.revision_of(last)
        return StreamingResponse(self._stream(thread, known), media_type="text/event-stream")

    async def _stream(self, thread: Thread, known: int | None) -> AsyncIterator[bytes]:
        reader = Reader(thread, known=known)
        thread.readers += 1
        try:
            yield b"retry: 1000\n\n"
            while not self._adapter.closing.is_set():
                if (news := reader.news()) is not None:
                    yield b"id: %s\ndata: %s\n\n" % (reader.mark, msgspec.json.encode(news))
                    await asyncio.sleep(_PACE_S)
                try:
                    async with asyncio.timeout(_KEEPALIVE_S):
                        await thread.changed(reader.revision)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            thread.readers -= 1

    async def _messages(self, request: Request) -> Response:
        thread_id = request.path_params["thread_id"]
        if not _ID.fullmatch(thread_id):
            return refuse(404, "There is no such thread.")
        try:
            async with _capped(request, self._body_limit()).form(
                max_files=_MAX_FILES, max_fields=4, max_part_size=_MAX_TEXT_BYTES
            ) as form:
                return await self._take(thread_id, form)
        except _TooMuch:
            return refuse(413, f"That is more than {megabytes(self._body_limit())} at once.")
        except HTTPException as error:
            return refuse(400, f"The message can't be taken: {error.detail}")
        except NotAccepted:
            return refuse(503, "The bot can't take messages now. Please send it again.")

    def _body_limit(self) -> int:
        return 3 * self._adapter.limits.max_attachment_bytes + 2 * _MAX_TEXT_BYTES

    async def _take(self, thread_id: str, form: FormData) -> Response:
        text = _field(form, "text").strip()
        uploads = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
        if not text and not uploads:
            return refuse(400, "Write something or attach a file.")
        command = None if uploads else parse_command(text)
        if command is not None:
            await self._adapter.command(thread_id, *command)
            return JSONResponse({"accepted": True})
        limit = self._adapter.limits.max_attachment_bytes
        for upload in uploads:
            if (upload.size or 0) > limit:
                name = upload.filename or "file"
                return refuse(413, too_large(name, upload.size or 0, limit))
        sent_id = _field(form, "event_id")
        event_id = sent_id if _ID.fullmatch(sent_id) else uuid.uuid4().hex
        files = tuple([await self._keep(upload) for upload in uploads])
        return await self._say(thread_id, event_id, text, files)

    async def _say(
        self, thread_id: str, event_id: str, text: str, files: tuple[Attachment, ...]
    ) -> Response:
        try:
            receipt = await self._adapter.say(thread_id, event_id, text, files)
        except NotAccepted:
            await self._adapter.uploads.drop(files)
            raise
        accepted = receipt is Receipt.ACCEPTED
        if not accepted:
            await self._adapter.uploads.drop(files)
        if receipt in _REFUSED:
            return refuse(*_REFUSED[receipt])
        return JSONResponse({"accepted": accepted})

    async def _keep(self, upload: UploadFile) -> Attachment:
        media_type = sound(upload.content_type or "application/octet-stream")
        name = sound(upload.filename or "file")[:200]
        content = await upload.read()
        return await self._adapter.uploads.keep(content, name=name, media_type=media_type)


def _capped(request: Request, limit: int) -> Request:
    """The request with a body that raises once it is over `limit` bytes."""
    taken = 0

    async def receive() -> AsgiMessage:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _TooMuch
        return message

    return Request(request.scope, receive)


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    return sound(value) if isinstance(value, str) else ""
