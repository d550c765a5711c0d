"""What the sandbox adds to a file: warm and cold, beside decoding in the bot's own process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

from PIL import Image

from adapters.decoding.child import pages, pictures
from adapters.decoding.child.wire import Job
from adapters.decoding.files import KEY_FRAMES, MAX_SIDE, decode_file
from adapters.decoding.kinds import kind_of
from adapters.decoding.sandbox import Sandbox
from benchmarks.report import Table
from tests.documents import pdf
from tests.pictures import encoded, error_window

TARGET_MS = 120
RUNS = 15
COLD_RUNS = 5


def files() -> dict[str, bytes]:
    noise = Image.effect_noise((1600, 1200), 60).convert("RGB")
    return {
        "PNG screenshot, 760 × 330": error_window(),
        "JPEG, 1600 × 1200": encoded(noise, "JPEG"),
        "PNG, 1600 × 1200": encoded(noise, "PNG"),
        "PDF, 20 pages of text": pdf(*[f"This is the text of page {page}" for page in range(20)]),
    }


async def measure() -> list[Table]:
    columns = ("file", "in process", "sandbox", "above", "a new worker for it", "above")
    found: list[Table] = []
    for bwrap in dict.fromkeys((None, "/nowhere/bwrap")):
        async with Sandbox(bwrap=bwrap) as sandbox:
            level = await sandbox.level()
        if any(level in table.title for table in found):
            continue  # bubblewrap is not here: both are the same
        table = Table(f"Sandbox by {level}, ms a file (target: ≤ {TARGET_MS} above)", columns)
        for name, data in files().items():
            table.add(name, *await _row(data, bwrap))
        found.append(table)
    return found


async def _row(data: bytes, bwrap: str | None) -> tuple[str, ...]:
    async with Sandbox(bwrap=bwrap) as warm:

        async def sandboxed() -> None:
            await decode_file(data, warm)

        await sandboxed()
        alone = await _median(lambda: _in_process(data), RUNS)
        kept = await _median(sandboxed, RUNS)
    async with Sandbox(bwrap=bwrap, jobs_per_worker=1) as single:

        async def cold() -> None:
            await decode_file(data, single)

        await cold()
        new = await _median(cold, COLD_RUNS)
    return (
        f"{alone:.0f}",
        f"{kept:.0f}",
        f"{kept - alone:+.0f}",
        f"{new:.0f}",
        f"{new - alone:+.0f}",
    )


async def _in_process(data: bytes) -> None:
    kind = kind_of(data)
    assert kind is not None
    job = Job(kind, data, MAX_SIDE, KEY_FRAMES)
    (pages if kind == "PDF" else pictures).read(job)


async def _median(act: Callable[[], Awaitable[None]], runs: int) -> float:
    took = []
    for _ in range(runs):
        before = time.perf_counter()
        await act()
        took.append(time.perf_counter() - before)
    return statistics.median(took) * 1000
