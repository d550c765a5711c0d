"""`firstline chat` as a process of its own, and what it printed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTED = """
[models.routes.script]
backend = "scripted"
[roles]
planner = ["script"]
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The one line on stderr; anything more is a fault."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


async def start(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, typing: bool = False
) -> asyncio.subprocess.Process:
    """`firstline …` in `folder`, which holds its settings and its home."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        *arguments,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            **(environ or {}),
        },
        stdin=asyncio.subprocess.PIPE if typing else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process, typed: str | None = None) -> Ended:
    try:
        async with asyncio.timeout(50):
            out, err = await process.communicate(typed.encode() if typed is not None else None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def ask(folder: Path, settings: str, text: str, *more: str, **environ: str) -> Ended:
    """`firstline chat --once TEXT` with these settings, to its end."""
    (folder / "firstline.toml").write_text(settings)
    return await ended(await start(folder, "chat", "--once", text, *more, environ=environ))
