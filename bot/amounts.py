"""Numbers and days as the bot's sentences have them."""

from __future__ import annotations

from datetime import UTC, datetime

from adapters.chat.sentences import mark, say


def begun(since: float, locale: str) -> str:
    return say(locale, ", the oldest of {day}", day=day(since))


def things(number: int, locale: str) -> str:
    told = mark("{number} thing") if number == 1 else mark("{number} things")
    return say(locale, told, number=f"{number:,}")


def entries(number: int, locale: str) -> str:
    told = mark("{number} entry") if number == 1 else mark("{number} entries")
    return say(locale, told, number=f"{number:,}")


def pictures(number: int, locale: str) -> str:
    told = mark("{number} picture") if number == 1 else mark("{number} pictures")
    return say(locale, told, number=f"{number:,}")


def day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
