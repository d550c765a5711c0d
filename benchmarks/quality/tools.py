"""Invented tools that really work, next to the built-in ones: what the cases offer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tools.contract import ToolContext, ToolError
from tools.decorator import tool
from tools.toolbox import Toolbox, built_in_tools

Short = Annotated[str, Field(min_length=1, max_length=100)]
Unit = Literal["km", "miles", "kg", "pounds", "celsius", "fahrenheit", "litres", "gallons"]
Currency = Literal["EUR", "USD", "GBP", "JPY", "CHF"]

# By name: a tool that is added to firstline does not change what older figures measured.
_BUILT_IN = {"calculate", "current_time", "search_conversation", "look"}
_HANDBOOK = {
    "vacation": "Everyone has 28 days of vacation a year.",
    "vpn": "Reset the VPN password on the self-service page.",
    "travel": "Travel is booked by the office and paid in advance.",
    "laptop": "A new laptop comes every three years.",
}
_PEOPLE = {"anna": "Anna Berg, sales, +49 30 100", "omar": "Omar Diaz, support, +49 30 101"}
_SERVERS = {"web-01": "up", "web-02": "down", "db-01": "up", "mail": "up"}
_FACTORS = {"km": 1.609344, "kg": 0.45359237, "litres": 3.785411784}
_PARTNERS = {"miles": "km", "pounds": "kg", "gallons": "litres"}
_IN_EUROS = {"EUR": 1.0, "USD": 0.9, "GBP": 1.15, "JPY": 0.006, "CHF": 1.05}


@tool(
    effect="write",
    idempotency="none",
    example=(
        "Open a ticket: the coffee machine leaks, not urgent.",
        {"title": "Coffee machine leaks", "priority": "low"},
    ),
)
async def create_ticket(
    context: ToolContext, title: Short, priority: Literal["low", "normal", "high"]
) -> str:
    """Open a ticket for the support team."""
    return f"Ticket {abs(hash(context.call_key)) % 9000 + 1000} opened: {title} ({priority})."


@tool(
    effect="read",
    idempotency="natural",
    example=("What is our policy on parking?", {"query": "parking policy"}),
)
async def search_knowledge(query: Short) -> str:
    """Search the company handbook: policies, benefits, how-tos."""
    found = [text for word, text in _HANDBOOK.items() if word in query.casefold()]
    return "\n".join(found) or "The handbook says nothing about that."


@tool(
    effect="read",
    idempotency="natural",
    example=("How many pounds is 70 kg?", {"value": 70, "source": "kg", "target": "pounds"}),
)
async def convert_units(value: float, source: Unit, target: Unit) -> str:
    """Convert a length, weight, volume or temperature."""
    if (source, target) == ("celsius", "fahrenheit"):
        return f"{value * 1.8 + 32:.2f} fahrenheit"
    if (source, target) == ("fahrenheit", "celsius"):
        return f"{(value - 32) / 1.8:.2f} celsius"
    if _PARTNERS.get(source) == target:
        return f"{value * _FACTORS[target]:.3f} {target}"
    if _PARTNERS.get(target) == source:
        return f"{value / _FACTORS[source]:.3f} {target}"
    raise ToolError(f"{source} can't be converted to {target}")


@tool(
    effect="write",
    idempotency="key",
    example=(
        "Remind me in 20 minutes to water the plants.",
        {"text": "water the plants", "minutes": 20},
    ),
)
async def set_reminder(text: Short, minutes: Annotated[int, Field(ge=1, le=10080)]) -> str:
    """Remind the person of something after some minutes."""
    return f"You will be reminded in {minutes} minutes: {text}"


@tool(
    effect="read",
    idempotency="natural",
    example=("Is it raining in Oslo?", {"city": "Oslo"}),
)
async def get_weather(city: Short) -> str:
    """Weather in a city right now."""
    return f"{city}: {len(city) + 8} °C, dry."


@tool(
    effect="read",
    idempotency="natural",
    example=("What is Maria's phone number?", {"name": "Maria"}),
)
async def find_person(name: Short) -> str:
    """Look up a colleague: team, phone."""
    found = [text for key, text in _PEOPLE.items() if key in name.casefold()]
    return "\n".join(found) or "Nobody of that name works here."


@tool(
    effect="read",
    idempotency="natural",
    example=("Is the server backup-03 running?", {"server": "backup-03"}),
)
async def server_status(server: Short) -> str:
    """Whether one of our servers is up."""
    return f"{server}: {_SERVERS.get(server.casefold(), 'unknown')}"


@tool(
    effect="read",
    idempotency="natural",
    example=("How many francs is one pound?", {"source": "GBP", "target": "CHF"}),
)
async def exchange_rate(source: Currency, target: Currency) -> str:
    """Today's exchange rate between two currencies."""
    return f"1 {source} = {_IN_EUROS[source] / _IN_EUROS[target]:.4f} {target}"


def toolbox() -> Toolbox:
    """Twelve tools; `look` is offered only with a picture."""
    invented = (
        create_ticket,
        search_knowledge,
        convert_units,
        set_reminder,
        get_weather,
        find_person,
        server_status,
        exchange_rate,
    )
    ours = (tool for tool in built_in_tools() if tool.name in _BUILT_IN)
    return Toolbox((*ours, *invented))
