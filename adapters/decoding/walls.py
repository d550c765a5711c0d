"""How a worker is started: bubblewrap around it where that works, limits of its own always."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Literal

import structlog

log = structlog.get_logger(__name__)

Level = Literal["bubblewrap", "limits", "processes"]

_WORKER = Path(__file__).with_name("child") / "main.py"
_PROBE_S = 5.0
# No network, no other processes to see, a root that can't be written, no capability left.
_WALLS: tuple[str, ...] = (
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--clearenv",
)
_WALLS += ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
MEANING: dict[Level, str] = {
    "bubblewrap": "own network, process and file namespaces, and resource limits",
    "limits": "resource limits only; install bubblewrap for namespaces of their own",
    "processes": "processes of their own without limits: this system has none",
}


async def level_here(*, bwrap: str | None = None) -> Level:
    """What this machine offers, tried out: bubblewrap may be there and forbidden."""
    if sys.platform == "win32":
        return "processes"
    where = bwrap or shutil.which("bwrap")
    if where and await _works(where):
        return "bubblewrap"
    return "limits"


def tell(level: Level) -> None:
    """Once, at the start."""
    write = log.info if level == "bubblewrap" else log.warning
    write("sandbox.level", walls=level, means=MEANING[level])


def command(level: Level, family: str, *, bwrap: str | None = None) -> list[str]:
    worker = [sys.executable, "-I", str(_WORKER), family]
    if level != "bubblewrap":
        return worker
    return [bwrap or shutil.which("bwrap") or "bwrap", *_WALLS, "--", *worker]


async def _works(bwrap: str) -> bool:
    try:
        process = await asyncio.create_subprocess_exec(
            bwrap,
            *_WALLS,
            "--",
            sys.executable,
            "-I",
            "-S",
            "-c",
            "",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(_PROBE_S):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
