"""The disk under Redis is full for a while (row A8)."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.drills.figures import RecordFigure
from tests.drills.ledger_load import Platform, ledger_at, stored, until, verdict
from tests.redis_servers import redis_server

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
ROOM_BYTES = 300_000


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=FULL)])
async def test_a_full_disk_refuses_new_work_keeps_the_accepted_and_recovers(
    times: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice, back_s = random.Random(times), list[float]()
    # Redis must see the failed write, as it sees a full disk, and not the signal.
    async with (
        redis_server(tmp_path, preexec=_outlive_the_limit) as server,
        ledger_at(server.url) as ledger,
        Platform(ledger, dice=dice) as platform,
    ):
        for _ in range(times):
            room = server.aof_bytes() + ROOM_BYTES
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (room, -1))
            refused = platform.refused
            await until(lambda since=refused: platform.refused > since + 50)
            accepted = len(platform.acknowledged)
            await asyncio.sleep(0.2)
            slipped = len(platform.acknowledged) - accepted
            freed = monotonic()
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (-1, -1))
            await until(lambda since=freed: platform.last_ack > since)
            back_s.append(platform.last_ack - freed)
            assert slipped == 0
        assert "disk" in platform.why
    async with redis_server(tmp_path) as again, ledger_at(again.url) as ledger:
        lost, doubled = verdict(platform.acknowledged, await stored(ledger))

    record_figure(
        row="A8",
        promise="disk full: new work is refused, accepted work is kept, it recovers by itself",
        figure=f"{times} times full, {len(platform.acknowledged)} events accepted, "
        f"{platform.refused} tries refused: {lost} lost, {doubled} doubled; "
        f"accepting again {max(back_s):.2f} s after room was made",
    )
    assert (lost, doubled) == (0, 0)


def _outlive_the_limit() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
