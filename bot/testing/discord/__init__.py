"""A wire-level fake Discord: REST v10, the gateway and the attachment host on one port."""

from bot.testing.discord.twin import DiscordTwin
from bot.testing.discord.world import Channel, Posted, User

__all__ = ["Channel", "DiscordTwin", "Posted", "User"]
