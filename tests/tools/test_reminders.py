"""When a reminder is due: worked out from an amount and a time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.builtin.reminders import due_at
from tools.contract import ToolError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 28, 13, 0, tzinfo=UTC)  # 14:00 there; their clocks go forward that night
Unit = Literal["minutes", "hours", "days", "weeks"]


@pytest.mark.parametrize(
    ("amount", "unit", "at", "wanted"),
    [
        (20, "minutes", None, "2026-03-28T14:20:00+01:00"),
        (1, "days", "09:00", "2026-03-29T09:00:00+02:00"),
        (1, "days", "9:00", "2026-03-29T09:00:00+02:00"),
        (24, "hours", None, "2026-03-29T15:00:00+02:00"),
        (0, "days", "18:30", "2026-03-28T18:30:00+01:00"),
        (0, "days", "08:00", "2026-03-29T08:00:00+02:00"),
        (2, "weeks", None, "2026-04-11T15:00:00+02:00"),
    ],
)
def test_the_clock_on_their_wall_counts(
    amount: int, unit: Unit, at: str | None, wanted: str
) -> None:
    assert due_at(NOW, amount, unit, at, BERLIN).isoformat() == wanted


@pytest.mark.parametrize(
    ("amount", "unit", "at", "reason"),
    [
        (0, "minutes", None, "is over"),
        (53, "weeks", None, "a year away"),
        (1, "days", "25:00", "no time of day"),
        (1, "days", "soon", "no time of day"),
        (1, "hours", "02:00", "is over"),
    ],
)
def test_what_can_not_be_kept_is_refused(
    amount: int, unit: Unit, at: str | None, reason: str
) -> None:
    with pytest.raises(ToolError, match=reason):
        due_at(NOW, amount, unit, at, BERLIN)


@given(
    st.integers(0, 10_000),
    st.sampled_from(["minutes", "hours", "days", "weeks"]),
    st.none() | st.times().map(lambda each: f"{each:%H:%M}"),
    st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")]),
)
def test_a_reminder_is_always_to_come_and_within_a_year(
    amount: int, unit: Unit, at: str | None, zone: tzinfo
) -> None:
    try:
        due = due_at(NOW, amount, unit, at, zone)
    except ToolError:
        return
    assert NOW < due <= NOW + timedelta(days=366)
