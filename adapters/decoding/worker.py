"""One worker process as the bot sees it; what it says is believed as little as a stranger."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from adapters.decoding.child.wire import HEAD, MAX_HEADER_BYTES
from adapters.decoding.errors import FIELDS, FileRefused, Reason
from adapters.decoding.kinds import Kind

MAX_ANSWER_BYTES = 64 * 1024 * 1024
READ_BYTES = 256 * 1024
MAX_PICTURES = 64
_WRITE_BYTES = 256 * 1024


class WorkerDied(Exception):
    """The process ended or spoke nonsense; `by_signal` when the system ended it."""

    def __init__(self, *, by_signal: bool = False) -> None:
        super().__init__("the worker was ended by the system" if by_signal else "the worker broke")
        self.by_signal = by_signal


class Shown(msgspec.Struct, frozen=True):
    """A picture in an answer; its bytes follow the header."""

    media_type: Literal["image/png", "image/jpeg"]
    width: Annotated[int, msgspec.Meta(ge=1)]
    height: Annotated[int, msgspec.Meta(ge=1)]
    size: Annotated[int, msgspec.Meta(ge=1)]


class Answer(msgspec.Struct, frozen=True):
    kind: str = ""
    text_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    pictures: tuple[Shown, ...] = ()
    total: int = 1
    read: int = 1
    cut: bool = False
    refused: Reason | None = None
    fields: dict[str, str | int] = {}
    ready: str = ""


def refused_by(reason: Reason, fields: Mapping[str, str | int]) -> FileRefused:
    """The worker's refusal with what of its fields is known and short."""
    known = {name: str(value)[:60] for name, value in fields.items() if name in FIELDS}
    return FileRefused(reason, **known)


class Worker:
    """Started by the sandbox; one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.jobs = 0

    @classmethod
    async def start(cls, command: list[str]) -> Worker:
        """A fresh interpreter, never a copy of the bot; it gets no secret and no environment.

        Raises `FileRefused` when its decoder is not installed, `WorkerDied` and `OSError`.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            limit=READ_BYTES,
        )
        worker, is_ready = cls(process), False
        try:
            answer = await worker._header()
            if answer.refused:
                raise refused_by(answer.refused, answer.fields)
            is_ready = True
        finally:
            if not is_ready:
                await worker.end()
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Asked of the system: asyncio hears of a death a little later."""
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.returncode is None
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # ended, and already waited for
            return False

    async def ask(
        self, data: bytes, kind: Kind, *, max_side: int, frames: int
    ) -> tuple[Answer, str, list[bytes]]:
        """The answer, its text, and its pictures' bytes; raises `WorkerDied`."""
        self.jobs += 1
        header = {"kind": kind, "size": len(data), "max_side": max_side, "frames": frames}
        encoded = json.dumps(header).encode()
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        try:
            self._process.stdin.write(HEAD.pack(len(encoded)) + encoded)
            for at in range(0, len(data), _WRITE_BYTES):
                self._process.stdin.write(data[at : at + _WRITE_BYTES])
                await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self._died() from None
        answer = await self._header()
        sizes = [answer.text_size, *(shown.size for shown in answer.pictures)]
        if sum(sizes) > MAX_ANSWER_BYTES or len(sizes) > MAX_PICTURES:
            raise WorkerDied
        text, *pictures = [await self._read(size) for size in sizes]
        return answer, text.decode("utf-8", "replace"), pictures

    async def end(self) -> None:
        """Kill it; it has nothing worth saving."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        # What was never read would keep the pipe's transport open.
        if self._process.stdout is not None:
            while await self._process.stdout.read(READ_BYTES):
                pass

    async def _header(self) -> Answer:
        [size] = HEAD.unpack(await self._read(HEAD.size))
        if size > MAX_HEADER_BYTES:
            raise WorkerDied
        try:
            return msgspec.json.decode(await self._read(size), type=Answer)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise WorkerDied from error

    async def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        try:
            return await self._process.stdout.readexactly(size)
        except asyncio.IncompleteReadError:
            raise await self._died() from None

    async def _died(self) -> WorkerDied:
        return WorkerDied(by_signal=await self._process.wait() < 0)
