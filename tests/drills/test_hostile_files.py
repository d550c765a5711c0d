"""Hostile files while the bot chats (rows F1–F8): no process over 1 GB, no stall of its loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import resource
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
import pytest

from adapters.chat.types import Attachment
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.drills.figures import RecordFigure
from tests.hostile_files import hostile_files, made

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
MOST_STALL_S = 0.1
MOST_RSS_KIB = 1024 * 1024
MOST_GROWN_KIB = 150 * 1024
AT_ONCE = 8
SEED = 20
_WORDS = ("damaged", "pixels", "open it", "type", "memory", "nothing", "password", "audio", "empty")


@dataclass
class Files(Chat):
    """A platform whose messages carry files."""

    files: dict[str, bytes] = field(default_factory=dict)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return self.files[attachment.locator]


class Pulse:
    """A task that sleeps a little again and again: how late it wakes is how long the loop stood."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.work_s = 0.0  # the largest piece of the loop's own work between two beats

    async def beat(self) -> None:
        while True:
            before, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, time.perf_counter() - before - 0.005)
            self.work_s = max(self.work_s, time.thread_time() - worked)


class Peaks:
    """The most memory that any worker ever had, looked at from a thread of its own.

    What the system keeps of ended children would count those of other tests too.
    """

    def __init__(self) -> None:
        self.largest_kib = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peaks", daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.03):
            for one in workers():
                with contextlib.suppress(OSError, psutil.Error):
                    status = Path(f"/proc/{one.pid}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+) kB", status)
                    self.largest_kib = max(self.largest_kib, int(found[1]) if found else 0)


def own_peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    found = []
    for one in children:
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            found += [one] if any("decoding" in part for part in one.cmdline()) else []
    return found


@pytest.mark.parametrize("files", [90, pytest.param(600, marks=FULL)])
async def test_hostile_files_harm_nobody_while_the_bot_chats(
    files: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = random.Random(SEED)
    chosen = list(itertools.islice(hostile_files(dice), max(files, 150)))
    chosen = chosen if files >= len(chosen) else dice.sample(chosen, files)
    chat, pulse = Files(), Pulse()
    began, before_kib = time.perf_counter(), own_peak_kib()
    with Peaks() as peaks:
        await chatting(chosen, chat, pulse, tmp_path)
    replies = ["\n".join(parts) for parts in chat.delivered.values()]
    assert all("42" in reply for reply in replies), "whatever the file, the question is answered"
    child_kib, grown_kib = peaks.largest_kib, own_peak_kib()
    figure = (
        f"{len(chosen)} files in {time.perf_counter() - began:.0f} s ({told(replies)}): largest "
        f"process {child_kib // 1024} MB, the bot's grew by {(grown_kib - before_kib) // 1024} MB; "
        f"loop stalled {pulse.longest_s * 1000:.0f} ms at most, by own work "
        f"{pulse.work_s * 1000:.0f} ms; every question answered"
    )
    print(figure)
    assert 0 < child_kib < MOST_RSS_KIB
    assert grown_kib - before_kib < MOST_GROWN_KIB
    assert pulse.work_s <= MOST_STALL_S
    assert not workers()
    record_figure(
        row="F8", promise="hostile files: ≤ 1 GB a process, stall ≤ 100 ms", figure=figure
    )


async def chatting(
    chosen: list[tuple[str, bytes]], chat: Files, pulse: Pulse, folder: Path
) -> None:
    """A question with each file, eight at once."""
    async with bot_with(chat, settings_in(folder)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop), name="bot")
        heart = group.create_task(pulse.beat(), name="pulse")
        for number, (name, data) in enumerate(chosen):
            chat.files[f"f{number}"] = data
            file = Attachment(
                f"f{number}", name, "application/octet-stream", len(data), f"f{number}"
            )
            asked = message("What is 6*7?", thread=f"t{number}")
            await bot.inbox.accept(msgspec.structs.replace(asked, attachments=(file,)))
            await until(lambda at=number: len(chat.delivered) > at - AT_ONCE, 60)  # type: ignore[misc]
        await until(lambda: len(chat.delivered) == len(chosen), 60)
        heart.cancel()
        stop.set()


def told(replies: list[str]) -> str:
    """How the files ended, by a word of the bot's sentence."""
    ends = Counter[str]()
    for reply in replies:
        notes = re.sub(r"“[^”]*”", "", reply)
        ends[next((word for word in _WORDS if word in notes), "read")] += 1
    return ", ".join(f"{count} {end}" for end, count in ends.most_common())


def test_the_made_files_are_many_and_each_is_another() -> None:
    files = list(made())

    assert len({data for _, data in files}) == len(files) >= 90
