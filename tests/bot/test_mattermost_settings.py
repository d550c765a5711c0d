from __future__ import annotations

from pathlib import Path

import pytest

from adapters.chat.mattermost import MattermostAdapter
from adapters.chat.types import Author
from bot.access import access_lists
from bot.admission import Admitted, Denied, Gate
from bot.channels import rules_of
from bot.mattermost import MattermostSection, open_adapter
from bot.settings import Settings, SettingsError, load_settings
from tools.identity import ConversationKey, PlaceKind

TEAM, CHANNEL, USER = ("t" * 26, "c" * 26, "u" * 26)
ENVIRON = {"MATTERMOST_URL": "https://chat.example.com/", "MATTERMOST_TOKEN": "secret-token"}


def settings_from(folder: Path, toml: str, **environ: str) -> Settings:
    file = folder / "firstline.toml"
    file.write_text(toml)
    return load_settings(file, environ=environ)


def test_the_two_variables_switch_it_on_and_the_token_stays_secret(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, "", **ENVIRON)

    assert settings.has_platform
    assert settings.mattermost.url == "https://chat.example.com"
    assert "secret-token" in settings.secrets()
    assert "secret-token" not in repr(settings)
    adapter = open_adapter(settings.mattermost, rules_of((), settings.channel_defaults))
    assert isinstance(adapter, MattermostAdapter)


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ('[mattermost]\ntoken = "x"', "mattermost.url"),
        ('[mattermost.allow]\nteams = ["myteam"]', "mattermost.allow.teams"),
        ('[mattermost]\nurl = "chat.example.com"', "mattermost.url"),
        ("[mattermost]\ncalls_per_s = 1", "mattermost.calls_per_s"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, toml: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        settings_from(tmp_path, toml)


def test_an_adapter_without_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mattermost\.url"):
        open_adapter(MattermostSection(), rules_of((), Settings().channel_defaults))


@pytest.mark.parametrize(
    ("team", "channel", "user", "place", "may"),
    [
        (TEAM, CHANNEL, USER, "public", True),
        (TEAM, "d" * 26, USER, "dm", True),
        ("x" * 26, CHANNEL, USER, "public", False),
        (TEAM, "x" * 26, USER, "private", False),
        (TEAM, CHANNEL, "x" * 26, "public", False),
        (TEAM, "d" * 26, "x" * 26, "dm", False),
    ],
)
def test_only_those_who_are_named_may_talk_to_it(
    tmp_path: Path, team: str, channel: str, user: str, place: PlaceKind, may: bool
) -> None:
    allow = f'teams = ["{TEAM}"]\nchannels = ["{CHANNEL}"]\nusers = ["{USER}"]'
    gate = Gate(access_lists(settings_from(tmp_path, f"[mattermost.allow]\n{allow}")))
    key = ConversationKey(f"mattermost:{team}", place, channel)

    verdict = gate.admit(key, Author(user, "member"))

    assert isinstance(verdict, Admitted if may else Denied)
