"""Reminders: when is worked out here, for small models reckon badly with dates."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo
from typing import Annotated, Literal

from pydantic import Field

from tools.contract import Labelled, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Label

Unit = Literal["minutes", "hours", "days", "weeks"]
_LONGEST = timedelta(days=366)


@tool(
    effect="write",
    idempotency="key",
    timeout_s=10,
    example=(
        "Remind me tomorrow at nine to call Ana.",
        {"text": "Call Ana", "amount": 1, "unit": "days", "at": "09:00"},
    ),
)
async def set_reminder(
    context: ToolContext,
    text: Annotated[str, Field(min_length=1, max_length=500)],
    amount: Annotated[int, Field(ge=0, le=10_000)],
    unit: Unit,
    at: Annotated[str, Field(max_length=5)] | None = None,
) -> Labelled:
    """Say something here later: after an amount of time, and at a time of that day (HH:MM)."""
    if context.remind is None:
        raise ToolError("there are no reminders here")
    due = due_at(context.now(), amount, unit, at, context.zone)
    await context.remind(text, due)
    return Labelled(f"You will be reminded on {due:%A %d %B %Y at %H:%M} ({context.zone})", Label())


def due_at(now: datetime, amount: int, unit: Unit, at: str | None, zone: tzinfo) -> datetime:
    """In `zone`; without an amount, the next time that a clock there shows `at`."""
    due = (now + timedelta(**{unit: amount})).astimezone(zone)
    if at is not None:
        due = datetime.combine(due.date(), _clock(at), zone)
        if due <= now and amount == 0:
            due = datetime.combine(due.date() + timedelta(days=1), _clock(at), zone)
    if due <= now:
        raise ToolError("that time is over; name one that is still to come")
    if due - now > _LONGEST:
        raise ToolError("that is more than a year away")
    return due


def _clock(at: str) -> time:
    try:
        return time.fromisoformat(at.strip().zfill(5))
    except ValueError:
        raise ToolError(f"{at!r} is no time of day; write it like 09:00") from None
