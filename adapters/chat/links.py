"""Addresses under which people find a message in their own client."""

from __future__ import annotations

from adapters.chat.types import Message


def link_to(message: Message) -> str:
    """Of the message, or of where it would stand; empty where the platform has none known here."""
    key = message.conversation
    platform, _, workspace = key.tenant.partition(":")
    if platform == "slack":
        ts = message.message_id.partition(":")[2] or key.thread or ""
        said = f"/p{ts.replace('.', '')}" if ts else ""
        behind = (
            f"?thread_ts={key.thread}&cid={key.channel}" if key.thread not in (None, ts) else ""
        )
        return f"https://slack.com/archives/{key.channel}{said}{behind}"
    if platform == "discord":
        guild = "@me" if workspace == "dm" else workspace
        where = "/".join(filter(None, message.message_id.split("/")[:2])) or key.channel
        return f"https://discord.com/channels/{guild}/{where}"
    return ""
