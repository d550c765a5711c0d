"""How the bot behaves in a channel: what its operator set, and what holds just now."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Annotated, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.chat.sentences import Language
from adapters.chat.types import ChannelRule, ChannelRules, ReplyIn
from bot.sections import Names, Section, fault

Mode = Literal["off", "mention", "confident", "always"]
Persona = Annotated[str, Field(max_length=2000)]
_LANGUAGES: Mapping[str, str] = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "pt": "Portuguese",
    "zh": "Chinese",
    "ja": "Japanese",
}
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _channel_id(value: object) -> object:
    """A Discord id may be typed as a number."""
    return str(value) if type(value) is int else value


def _known_id(value: str) -> str:
    if not re.fullmatch(r"[CG][A-Z0-9]+|[0-9]{1,20}|[a-z0-9]{26}", value):
        raise ValueError("must be a channel's id such as C0123ABCD or 123456789012345678")
    return value


def _window(value: str) -> str:
    found = _WINDOW.fullmatch(value.strip())
    if value and (found is None or found.group(1, 2) == found.group(3, 4)):
        raise ValueError("must be two different times such as 22:00-07:00")
    return value.strip()


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a name of the time zone database such as Europe/Berlin") from None
    return value


class SupportRule(NamedTuple):
    """Which documents answers in a channel rest on, and when the bot speaks there."""

    topics: tuple[str, ...] = ()
    mode: Mode = "mention"
    persona: str = ""  # what the model is told of itself there, and the language it answers in


class ChannelDefaults(Section):
    """What holds where no `[[channels]]` says otherwise."""

    follow_ups: bool = True
    reply_in: ReplyIn = "thread"
    answer_posts: bool = False
    quiet: Annotated[str, AfterValidator(_window)] = ""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    mode: Mode = "mention"
    knowledge: Names = ()
    persona: Persona = ""
    answer_in: Language | None = None


class ChannelSection(Section):
    """One channel; what is unset is as in `channel_defaults`."""

    id: Annotated[str, BeforeValidator(_channel_id), AfterValidator(_known_id)]
    follow_ups: bool | None = None
    reply_in: ReplyIn | None = None
    answer_posts: bool | None = None
    quiet: Annotated[str, AfterValidator(_window)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None
    mode: Mode | None = None
    knowledge: Names | None = None
    persona: Persona | None = None
    answer_in: Language | None = None
    language: Language | None = None


def each_once(channels: Iterable[ChannelSection]) -> tuple[ChannelSection, ...]:
    """The channels; raises a fault that names the second of two with one id."""
    known: dict[str, ChannelSection] = {}
    for place, channel in enumerate(channels):
        if channel.id in known:
            raise fault(f"{place}.id", "is there already: write one table a channel")
        known[channel.id] = channel
    return tuple(known.values())


def is_quiet(window: str, zone: tzinfo, at: float) -> bool:
    """Whether the clock on the wall stands within `22:00-07:00`, its end excluded."""
    found = _WINDOW.fullmatch(window)
    if found is None:
        return False
    local = datetime.fromtimestamp(at, zone)
    now = local.hour * 60 + local.minute
    begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    return begin <= now < end if begin < end else now >= begin or now < end


def rules_of(
    channels: Iterable[ChannelSection],
    usual: ChannelDefaults,
    *,
    clock: Callable[[], float] = time.time,
) -> ChannelRules:
    """The rules by channel; in its quiet hours follow-ups stay unheard."""
    merged = {each.id: _merged(each, usual) for each in channels}

    def rule(channel: str) -> ChannelRule:
        found = merged.get(channel, usual)
        heard = found.follow_ups and not is_quiet(found.quiet, ZoneInfo(found.timezone), clock())
        overhears = found.mode in ("confident", "always") and not is_quiet(
            found.quiet, ZoneInfo(found.timezone), clock()
        )
        return ChannelRule(heard, found.reply_in, found.answer_posts, overhears)

    return rule


def support_of(
    channels: Iterable[ChannelSection], usual: ChannelDefaults
) -> Callable[[str], SupportRule]:
    """The rule of support by channel; direct messages are as where nothing is set."""
    rules = {each.id: _support(_merged(each, usual)) for each in channels}
    other = _support(usual)
    return lambda channel: rules.get(channel, other)


def _support(found: ChannelDefaults) -> SupportRule:
    language = f"Answer in {_LANGUAGES[found.answer_in]}." if found.answer_in else ""
    return SupportRule(found.knowledge, found.mode, f"{found.persona} {language}".strip())


def zone_of(channels: Iterable[ChannelSection], usual: ChannelDefaults) -> Callable[[str], tzinfo]:
    """The time zone by channel."""
    zones = {each.id: ZoneInfo(_merged(each, usual).timezone) for each in channels}
    other = ZoneInfo(usual.timezone)
    return lambda channel: zones.get(channel, other)


def _merged(channel: ChannelSection, usual: ChannelDefaults) -> ChannelDefaults:
    own = channel.model_dump(exclude={"id", "language"}, exclude_none=True)
    return ChannelDefaults(**{**usual.model_dump(), **own})
