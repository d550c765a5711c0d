"""The current time in a zone."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from tools.contract import Labelled, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Label


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=5,
    example=("What time is it in Lisbon?", {"zone": "Europe/Lisbon"}),
)
async def current_time(
    context: ToolContext, zone: Annotated[str, Field(min_length=1, max_length=60)]
) -> Labelled:
    """Current date and time in an IANA time zone or city."""
    name = find_zone(zone)
    now = context.now().astimezone(ZoneInfo(name))
    return Labelled(f"{now:%A %d %B %Y, %H:%M} ({name}, UTC{now:%z})", Label())


def find_zone(asked: str) -> str:
    """The IANA name for a zone or city, whatever its case; raises `ToolError`.

    Where no zone has the name, its last part may still be a city: "America/Tokyo".
    """
    wanted = _plain(asked)
    names = _zones()
    for name in (wanted, wanted.rpartition("/")[2]):
        if name in names:
            return names[name]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.75)
    hint = f"; did you mean {names[near[0]]}?" if near else "; use a name like Europe/Paris"
    raise ToolError(f"no such time zone{hint}")


@cache
def _zones() -> dict[str, str]:
    """Whole names first: a city never shadows a zone of the same name."""
    available = sorted(available_timezones())
    cities = {_plain(name.rpartition("/")[2]): name for name in available if "/" in name}
    return {**cities, **{_plain(name): name for name in available}}


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "").replace("_", "")
