"""Real bots as processes that a drill starts in 50 ms, kills, freezes and stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_ANSWER_S = 60.0  # a machine with one core to spare needs seconds for the imports


class ForkServer:
    """The process that forks bots; made by `fork_server`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._ready = asyncio.Event()
        self._asking = asyncio.Lock()

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            fact = json.loads(line)
            if "ready" in fact:
                self._ready.set()
            elif "code" in fact:
                self._end_of(fact["pid"]).set_result(fact["code"])
            else:
                self._answers.put_nowait(fact["pid"])
        self._ready.set()  # it has ended: nobody may wait for it

    async def start(self, order: Mapping[str, Any]) -> int:
        """Fork a bot; returns its process id."""
        assert self._process.stdin is not None
        async with self._asking, asyncio.timeout(_ANSWER_S):
            await self._ready.wait()
            if self._process.stdout is None or self._process.stdout.at_eof():
                raise AssertionError("the fork server has ended; its error is on stderr")
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return await self._answers.get()

    def _end_of(self, pid: int) -> asyncio.Future[int]:
        return self._ended.setdefault(pid, asyncio.get_running_loop().create_future())

    async def ended(self, pid: int) -> int:
        """The exit code once the bot ended; negative for the signal that killed it."""
        code = await asyncio.shield(self._end_of(pid))
        self._ended.pop(pid, None)
        return code


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.drills.fork_server",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    server = ForkServer(process)
    listening = asyncio.create_task(server.listen(), name="fork server")
    try:
        yield server
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.wait()
            await listening


class DrillBot:
    """One `firstline run` that may be started again and again; its log is kept in `folder`."""

    def __init__(
        self,
        server: ForkServer,
        folder: Path,
        environ: Mapping[str, str],
        *,
        name: str = "bot",
        arguments: Sequence[str] = ("run",),
    ) -> None:
        self._server, self._folder, self._arguments = server, folder, list(arguments)
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.log = folder / f"{name}.log"
        self.pid: int | None = None
        self.rules: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Fork it; it connects by itself a moment later."""
        order = {
            "folder": str(self._folder),
            "log": str(self.log),
            "environ": self._environ,
            "arguments": self._arguments,
            "rules": self.rules,
        }
        self.pid = await self._server.start(order)

    async def kill(self) -> None:
        """SIGKILL: the worst instant."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Signal it and wait for its end; its exit code, None when it did not run."""
        pid, self.pid = self.pid, None
        if pid is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        async with asyncio.timeout(_ANSWER_S):
            return await self._server.ended(pid)

    async def died(self, timeout_s: float) -> int:
        """Wait until it ends by itself; raises `TimeoutError`."""
        assert self.pid is not None
        async with asyncio.timeout(timeout_s):
            code = await self._server.ended(self.pid)
        self.pid = None
        return code

    def freeze(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGCONT)

    def said(self, event: str) -> int:
        """How often its log holds `event`."""
        return self.log.read_text(errors="replace").count(event) if self.log.exists() else 0
