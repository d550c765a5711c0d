from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.chat.commands import ASK, COMMANDS
from adapters.chat.shortcuts import SHORTCUTS
from adapters.chat.slack_api import NEEDED_SCOPES
from adapters.chat.slack_manifest import EVENTS, as_yaml, manifest
from adapters.chat.slack_shortcuts import callback_id

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def test_the_manifest_in_the_docs_is_the_one_that_is_made() -> None:
    """Make it anew with: firstline slack manifest > docs/slack-manifest.yaml"""
    assert (DOCS / "slack-manifest.yaml").read_text(encoding="utf-8") == as_yaml(manifest())


@pytest.mark.parametrize(
    "made",
    [
        manifest(),
        manifest(agent=True),
        manifest(url="https://bot.example.com/", agent=True, installable=True),
    ],
    ids=["socket", "agent", "http"],
)
def test_its_yaml_reads_back_as_the_same_values(made: dict[str, Any]) -> None:
    assert yaml.safe_load(as_yaml(made)) == made


def test_the_manifest_registers_what_the_code_has_and_nothing_else() -> None:
    made = manifest()
    commands = made["features"]["slash_commands"]

    assert tuple(made["oauth_config"]["scopes"]["bot"]) == NEEDED_SCOPES
    assert [each["command"] for each in commands] == [f"/{each.name}" for each in (ASK, *COMMANDS)]
    assert [each["callback_id"] for each in made["features"]["shortcuts"]] == [
        callback_id(each.kind) for each in SHORTCUTS
    ]
    assert made["settings"]["event_subscriptions"] == {"bot_events": list(EVENTS)}
    assert made["settings"]["socket_mode_enabled"] is True


def test_over_http_every_address_is_the_bots_own() -> None:
    made = manifest(url="https://bot.example.com/", installable=True)
    events = "https://bot.example.com/slack/events"

    assert made["settings"]["event_subscriptions"]["request_url"] == events
    assert made["settings"]["interactivity"]["request_url"] == events
    assert {each["url"] for each in made["features"]["slash_commands"]} == {events}
    assert made["oauth_config"]["redirect_urls"] == ["https://bot.example.com/slack/oauth_redirect"]
    assert made["settings"]["socket_mode_enabled"] is False


def test_the_manifest_keeps_slacks_lengths() -> None:
    features = manifest()["features"]

    assert all(len(each["name"]) <= 24 for each in features["shortcuts"])
    assert all(len(each["description"]) <= 150 for each in features["shortcuts"])
    assert all(len(each["command"]) <= 32 for each in features["slash_commands"])
    assert all(len(each["description"]) <= 2000 for each in features["slash_commands"])


def test_the_command_line_prints_it() -> None:
    command = [sys.executable, "-m", "bot", "slack", "manifest"]
    more = ["--http", "https://bot.example.com", "--installable", "--json"]
    printed = [
        subprocess.run(  # noqa: S603 (our own interpreter)
            [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for options in ([], more)
    ]

    assert printed[0] == as_yaml(manifest())
    assert json.loads(printed[1]) == manifest(url="https://bot.example.com", installable=True)


def test_the_page_explains_every_scope() -> None:
    page = (DOCS / "slack.md").read_text(encoding="utf-8")

    assert [scope for scope in NEEDED_SCOPES if f"`{scope}`" not in page] == []
