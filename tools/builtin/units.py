"""Exact conversions between units of measurement; currencies have no fixed rate and are none."""

from __future__ import annotations

import asyncio
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tools.contract import Labelled, ToolContext, ToolError
from tools.decorator import tool
from tools.labels import Label

if TYPE_CHECKING:
    from pint import UnitRegistry
    from pint.facets.plain import PlainUnit

Unit = Annotated[str, Field(min_length=1, max_length=40)]
_WORD = r"[A-Za-z°µΩ]+(?: ?\^ ?[23])?"
_WRITTEN = re.compile(rf"{_WORD}(?: ?[*/ ] ?{_WORD}){{0,4}}")
_POWER = re.compile(r"(?<=[A-Za-z])([23²³])\b")
_PLAIN_POWERS = str.maketrans("²³", "23")
_SHOWN_DIGITS = 10
# The library's own errors derive from these, beside PintError (pint/errors.py, 0.25).
_FAULTS = (ArithmeticError, AttributeError, TypeError, ValueError)


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=10,
    example=("How many miles are 42 km?", {"value": 42, "source": "km", "target": "miles"}),
)
async def convert_units(
    context: ToolContext,
    value: Annotated[float, Field(ge=-1e30, le=1e30)],
    source: Unit,
    target: Unit,
) -> Labelled:
    """Convert a quantity between units (length, mass, temperature, data, …); no currencies."""
    converted = await asyncio.to_thread(convert, value, source, target)
    return Labelled(f"{value:g} {source} = {converted:.{_SHOWN_DIGITS}g} {target}", Label())


def convert(value: float, source: str, target: str) -> float:
    """Raises `ToolError` for what is no unit, or measures something else."""
    units = _units()
    known = [_written(units, source), _written(units, target)]
    try:
        result = float(units.Quantity(value, known[0]).to(known[1]).magnitude)
    except _FAULTS as error:
        raise ToolError(f"{source} and {target} do not measure the same thing") from error
    if not math.isfinite(result):
        raise ToolError("that is too large a number")
    return result


def _written(units: UnitRegistry[float], name: str) -> PlainUnit:
    """A unit by a strict notation: the library's own would run any expression."""
    plain = _POWER.sub(lambda found: "^" + found[1].translate(_PLAIN_POWERS), name.strip())
    if not _WRITTEN.fullmatch(plain):
        raise ToolError(f"{name!r} is no unit; write it like km, mile, kg, celsius or m/s")
    for wanted in (plain, plain.casefold()):
        try:
            return units.parse_units(wanted)
        except _FAULTS:
            continue
    raise ToolError(f"there is no unit {name!r}; write it like km, mile, kg, celsius or m/s")


@cache
def _units() -> UnitRegistry[float]:
    """Imported here: the table of units takes 0.2 s to read."""
    import pint

    return pint.UnitRegistry(cache_folder=None)
