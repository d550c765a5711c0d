"""What a server, its channels and its roles say where no test has another wish."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

GUILD: Json = {
    "icon": None,
    "splash": None,
    "discovery_splash": None,
    "description": None,
    "incidents_data": None,
    "region": "deprecated",
    "afk_channel_id": None,
    "afk_timeout": 300,
    "verification_level": 1,
    "default_message_notifications": 1,
    "explicit_content_filter": 0,
    "mfa_level": 0,
    "nsfw_level": 0,
    "application_id": None,
    "system_channel_id": None,
    "system_channel_flags": 0,
    "rules_channel_id": None,
    "vanity_url_code": None,
    "banner": None,
    "premium_tier": 0,
    "public_updates_channel_id": None,
    "stage_instances": [],
    "guild_scheduled_events": [],
    "emojis": [],
    "stickers": [],
    "features": [],
    "preferred_locale": "en-US",
}
CHANNEL: Json = {"position": 0, "parent_id": None, "rate_limit_per_user": 0, "nsfw": False}
FORUM: Json = {
    "available_tags": [],
    "default_reaction_emoji": None,
    "default_sort_order": None,
    "default_forum_layout": 0,
}
COMMAND: Json = {"description": "", "type": 1, "integration_types": [0], "contexts": [0, 1, 2]}
COLORS: Json = {"primary_color": 0, "secondary_color": None, "tertiary_color": None}
