"""Slack's events are acknowledged in time while Redis is slow (row C7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.slack_ack import measure
from tests.drills.figures import RecordFigure


@pytest.mark.parametrize("seconds", [4, pytest.param(600, marks=[pytest.mark.drill])])
@pytest.mark.timeout(900)
async def test_events_are_acknowledged_in_time_while_every_trip_to_redis_takes_200_ms(
    seconds: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    acks = await measure(seconds=seconds, per_s=50, delay_s=0.2, folder=tmp_path)
    figure = f"Redis 200 ms slower, 50 events/s for {seconds} s: {acks}"
    record_figure(row="C7", promise="An event's ack comes in time, or not at all", figure=figure)

    assert acks.statuses[200] == acks.statuses.total() == 50 * seconds
    if seconds >= 60:  # the first seconds of a process are slower
        assert acks.at(0.99) <= 0.5
    assert max(acks.seconds) < 2.5
