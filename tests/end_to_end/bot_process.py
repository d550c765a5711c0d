"""The real bot as a process of its own: started, killed and started again by a test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BotProcess:
    """`firstline run` in a folder of its own, configured by the `firstline.toml` in it."""

    def __init__(
        self,
        folder: Path,
        settings: str,
        environ: Mapping[str, str],
        *,
        ready: str = "/readyz",
        options: Sequence[str] = (),
    ) -> None:
        self.folder, self.port, self._ready = folder, free_port(), ready
        self._options = options
        (folder / "firstline.toml").write_text(f"{settings}\n[web]\nport = {self.port}\n")
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self._process: asyncio.subprocess.Process | None = None
        self.log = folder / "bot.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot",
                "run",
                *self._options,
                cwd=self.folder,
                env={**self._environ, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self._wait_ready()

    async def kill(self) -> None:
        """SIGKILL: the worst instant."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    async def _end(self, signal_number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal_number)
        async with asyncio.timeout(30):
            return await process.wait()

    async def _wait_ready(self) -> None:
        async with aiohttp.ClientSession() as session, asyncio.timeout(READY_TIMEOUT_S):
            while True:
                if self._process is None or self._process.returncode is not None:
                    raise AssertionError(f"the bot ended at start:\n{self.log.read_text()}")
                try:
                    async with session.get(f"{self.url}{self._ready}") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)


@asynccontextmanager
async def bot_process(
    folder: Path,
    settings: str,
    environ: Mapping[str, str],
    *,
    ready: str = "/readyz",
    options: Sequence[str] = (),
) -> AsyncIterator[BotProcess]:
    """`options` go behind `firstline run`."""
    process = BotProcess(folder, settings, environ, ready=ready, options=options)
    try:
        await process.start()
        yield process
    finally:
        await process.stop()
        _end_server(folder / "data" / "redis" / "redis.pid")


def _end_server(pid_file: Path) -> None:
    """The server of a bot that was killed and not started again: nobody else would end it."""
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
