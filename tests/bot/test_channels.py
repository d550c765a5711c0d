"""Channel rules: quiet hours by the clock on the wall, what a channel inherits, clear refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.types import ChannelRule
from bot.channels import ChannelDefaults, ChannelSection, is_quiet, rules_of
from bot.settings import SettingsError, load_settings

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
MINUTES = st.integers(0, 24 * 60 - 1)
NIGHT = "22:00-07:00"
BERLIN = ZoneInfo("Europe/Berlin")


def window(begin: int, end: int) -> str:
    return f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"


@settings(max_examples=200, deadline=None)
@given(MINUTES, MINUTES, st.sampled_from(ZONES), st.integers(0, 2**31))
def test_a_window_and_the_rest_of_the_day_share_every_instant(
    begin: int, end: int, zone: str, at: int
) -> None:
    if begin != end:
        within = is_quiet(window(begin, end), ZoneInfo(zone), at)
        assert within is not is_quiet(window(end, begin), ZoneInfo(zone), at)


@settings(max_examples=200, deadline=None)
@given(MINUTES, MINUTES, st.sampled_from(ZONES), st.integers(0, 2**31))
def test_what_the_wall_clock_shows_decides_in_every_zone(
    begin: int, end: int, zone: str, at: int
) -> None:
    if begin == end:
        return
    length = (end - begin) % (24 * 60)
    shown = datetime.fromtimestamp(at, ZoneInfo(zone))
    since = (shown.hour * 60 + shown.minute - begin) % (24 * 60)

    assert is_quiet(window(begin, end), ZoneInfo(zone), at) is (since < length)


@pytest.mark.parametrize(
    ("local", "quiet"),
    [("21:59", False), ("22:00", True), ("00:00", True), ("06:59", True), ("07:00", False)],
)
def test_a_night_reaches_over_midnight(local: str, quiet: bool) -> None:
    at = datetime.fromisoformat(f"2026-01-10T{local}").replace(tzinfo=BERLIN)

    assert is_quiet(NIGHT, BERLIN, at.timestamp()) is quiet


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 8), ("2026-10-24", 10)])
def test_the_night_of_a_clock_change_ends_when_the_wall_says_so(day: str, hours: int) -> None:
    begin = datetime.fromisoformat(f"{day}T22:00").replace(tzinfo=BERLIN).astimezone(UTC)
    quiet = [is_quiet(NIGHT, BERLIN, (begin + timedelta(hours=h)).timestamp()) for h in range(12)]

    assert quiet == [True] * hours + [False] * (12 - hours)


def test_a_channel_inherits_what_it_does_not_set() -> None:
    usual = ChannelDefaults(quiet=NIGHT, timezone="Europe/Berlin", reply_in="channel")
    channels = (ChannelSection(id="C1", quiet=""), ChannelSection(id="C2", reply_in="thread"))
    midnight = datetime(2026, 1, 10, tzinfo=BERLIN).timestamp()
    rules = rules_of(channels, usual, clock=lambda: midnight)

    assert rules("C1") == ChannelRule(follow_ups=True, reply_in="channel")
    assert rules("C2") == ChannelRule(follow_ups=False, reply_in="thread")
    assert rules("C3") == ChannelRule(follow_ups=False, reply_in="channel")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('id = "general"', "channels.0.id: must be a channel's id"),
        ('id = "C1"\nquiet = "22-7"', "channels.0.quiet: must be two different times"),
        ('id = "C1"\nquiet = "07:00-07:00"', "channels.0.quiet: must be two different times"),
        ('id = "C1"\ntimezone = "Berlin"', "channels.0.timezone: must be a name of the time zone"),
        ('id = "C1"\nlanguage = "klingon"', "channels.0.language: must be 'en', 'de'"),
        ('id = "C1"\nquite = "22:00-07:00"', "did you mean 'quiet'?"),
        ('id = "C1"\n[[channels]]\nid = "C1"', "channels.1.id: is there already"),
    ],
)
def test_a_wrong_rule_stops_the_start_with_its_name(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "firstline.toml"
    file.write_text(f"[[channels]]\n{line}\n")

    with pytest.raises(SettingsError, match=told.replace("?", r"\?")):
        load_settings(file, environ={})


def test_the_operators_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "firstline.toml"
    file.write_text('language = "de"\n[[channels]]\nid = 123456\nfollow_ups = false\n')
    read = load_settings(file, environ={})

    assert read.language == "de"
    assert rules_of(read.channels, read.channel_defaults)("123456") == ChannelRule(follow_ups=False)
