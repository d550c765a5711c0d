"""What an operator should know of the sandbox: how strong it is here, and what it can't read."""

from __future__ import annotations

import asyncio
from typing import get_args

from adapters.decoding import walls
from adapters.decoding.errors import FileRefused
from adapters.decoding.kinds import Family
from adapters.decoding.sandbox import START_S
from adapters.decoding.worker import Worker, WorkerDied

OPTIONAL: frozenset[Family] = frozenset({"videos"})


async def diagnose() -> tuple[bool, str]:
    """A worker of each family is started for real; whether all that must start do, and a line."""
    level = await walls.level_here()
    failing = [family for family in get_args(Family) if not await _starts(level, family)]
    if broken := [family for family in failing if family not in OPTIONAL]:
        return False, f"workers for {', '.join(broken)} don't start; reinstall firstline"
    told = f"{level} ({walls.MEANING[level]})"
    if failing:
        told += "; videos are not read: pip install 'firstline[video]'"
    return True, told


async def _starts(level: walls.Level, family: Family) -> bool:
    try:
        async with asyncio.timeout(START_S):
            worker = await Worker.start(walls.command(level, family))
    except (FileRefused, WorkerDied, OSError, TimeoutError):
        return False
    await worker.end()
    return True
