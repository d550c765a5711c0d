"""Real bots as processes that a drill starts in 50 ms, kills, freezes and stops."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_ANSWER_S = 60.0  # a machine with one core to spare needs seconds for the imports


class ForkServer:
    """One drill's line to the process that forks bots; made by `fork_server`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._asking = asyncio.Lock()

    async def listen(self) -> None:
        while line := await self._reader.readline():
            fact = json.loads(line)
            if "code" in fact:
                self._end_of(fact["pid"]).set_result(fact["code"])
            else:
                self._answers.put_nowait(fact["pid"])

    async def start(self, order: Mapping[str, Any]) -> int:
        """Fork a bot; returns its process id."""
        async with self._asking, asyncio.timeout(_ANSWER_S):
            self._writer.write(json.dumps(order).encode() + b"\n")
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
    """The fork server of this process, for one drill at a time; its bots end with the drill."""
    process, address = _launched()
    async with asyncio.timeout(_ANSWER_S):
        while not Path(address).exists():  # noqa: ASYNC240
            assert process.poll() is None, "the fork server did not start; see its error on stderr"
            await asyncio.sleep(0.02)
    reader, writer = await asyncio.open_unix_connection(address)
    server = ForkServer(reader, writer)
    listening = asyncio.create_task(server.listen(), name="fork server")
    try:
        yield server
    finally:
        writer.close()
        await writer.wait_closed()
        listening.cancel()
        await asyncio.wait((listening,))


@functools.cache
def _launched() -> tuple[subprocess.Popen[bytes], str]:
    """The fork server, once for all drills; it dies with the thread that starts it."""
    folder = tempfile.mkdtemp(prefix="fl-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = f"{folder}/forks"
    command = [sys.executable, "-m", "tests.drills.fork_server", address]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)  # noqa: S603
    atexit.register(process.kill)
    return process, address


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

    def end_of_log(self, chars: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-chars:] if self.log.exists() else ""
