"""What the platform tells an app when a person presses a button under a message."""

from __future__ import annotations

from typing import Any

from bot.testing.slack.world import Posted, World

Json = dict[str, Any]


def press_payload(
    world: World, message: Posted, user: str, action_id: str, *, response_url: str
) -> Json:
    """A `block_actions` payload; raises `StopIteration` where there is no such button."""
    blocks = message.sent.get("blocks") or ()
    elements = (each for block in blocks for each in block.get("elements", ()))
    button = next(each for each in elements if each["action_id"] == action_id)
    container = {"type": "message", "message_ts": message.ts, "channel_id": message.channel}
    thread = {"thread_ts": message.thread_ts} if message.thread_ts else {}
    return {
        "type": "block_actions",
        "user": {"id": user, "username": user.lower(), "team_id": world.team_id},
        "api_app_id": world.app_id,
        "token": "twin",
        "container": container | {"is_ephemeral": False} | thread,
        "trigger_id": world.new_id("trig"),
        "team": {"id": world.team_id, "domain": "twin"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": message.channel, "name": "somewhere"},
        "message": message.to_json(),
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [{"block_id": "b1", "action_ts": world.new_ts(), **button}],
    }
