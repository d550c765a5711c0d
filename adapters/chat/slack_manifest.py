"""The app's manifest, made from what the code registers: scopes, events, commands, shortcuts.

The form is that of docs.slack.dev/reference/app-manifest (2026-08).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.chat.commands import ASK, COMMANDS, CommandSpec
from adapters.chat.shortcuts import SHORTCUTS
from adapters.chat.slack_api import NEEDED_SCOPES
from adapters.chat.slack_http import EVENTS_PATH
from adapters.chat.slack_installs import REDIRECT_PATH
from adapters.chat.slack_shortcuts import callback_id

EVENTS = (
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "channel_archive",
    "channel_deleted",
    "channel_left",
    "group_archive",
    "group_deleted",
    "group_left",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "tokens_revoked",
)
AGENT_EVENTS = ("agent_session_stopped", "assistant_thread_started")
_ABOUT = "Support assistant on your own models"


def manifest(*, url: str = "", agent: bool = False, installable: bool = False) -> dict[str, Any]:
    """With `url` (https://…, as Slack reaches the bot) for HTTP, else for Socket Mode.

    An `installable` app can be added to other workspaces, which takes a `url`.
    """
    where = {"request_url": url.rstrip("/") + EVENTS_PATH} if url else {}
    events = sorted(EVENTS + (AGENT_EVENTS if agent else ()))
    scopes: dict[str, Any] = {"bot": sorted(NEEDED_SCOPES + (("assistant:write",) * agent))}
    oauth: dict[str, Any] = {"scopes": scopes}
    if installable and url:
        oauth = {"redirect_urls": [url.rstrip("/") + REDIRECT_PATH], **oauth}
    return {
        "display_information": {"name": "firstline", "description": _ABOUT},
        "features": _features(url=where.get("request_url", ""), agent=agent),
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": {**where, "bot_events": events},
            "interactivity": {"is_enabled": True, **where},
            "org_deploy_enabled": installable and bool(url),
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }


def _features(*, url: str, agent: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "app_home": {
            "home_tab_enabled": True,
            "messages_tab_enabled": True,
            "messages_tab_read_only_enabled": False,
        },
        "bot_user": {"display_name": "firstline", "always_online": True},
    }
    if agent:
        found["agent_view"] = {"agent_description": _ABOUT}
    found["shortcuts"] = [
        {
            "name": each.name,
            "type": "message",
            "callback_id": callback_id(each.kind),
            "description": each.description,
        }
        for each in SHORTCUTS
    ]
    found["slash_commands"] = [_command(each, url) for each in (ASK, *COMMANDS)]
    return found


def _command(spec: CommandSpec, url: str) -> dict[str, Any]:
    found: dict[str, Any] = {"command": f"/{spec.name}", "description": spec.description}
    if url:
        found["url"] = url
    if hint := spec.usage.partition(" ")[2]:
        found["usage_hint"] = hint
    return {**found, "should_escape": False}


def as_yaml(value: Mapping[str, Any]) -> str:
    """The manifest as YAML; its texts are written as JSON writes them, which YAML reads."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    match value:
        case Mapping():
            for key, each in value.items():
                if isinstance(each, Mapping | list | tuple):
                    yield f"{indent}{key}:"
                    yield from _lines(each, indent + "  ")
                else:
                    yield f"{indent}{key}: {_plain(each)}"
        case _ if isinstance(value, Sequence):
            for each in value:
                if isinstance(each, Mapping):
                    first, *more = _lines(each, indent + "  ")
                    yield f"{indent}- {first.strip()}"
                    yield from more
                else:
                    yield f"{indent}- {_plain(each)}"


def _plain(value: object) -> str:
    """A word as it is; all else quoted."""
    if (
        isinstance(value, str)
        and value.replace("_", "").replace(".", "").replace(":", "").isalpha()
        and value not in ("true", "false", "yes", "no", "on", "off", "null")
    ):
        return value
    return json.dumps(value, ensure_ascii=False)
