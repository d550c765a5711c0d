"""A wire-level fake Discord: REST v10, the gateway and the attachment host on one port."""

from tests.twins.discord.twin import DiscordTwin
from tests.twins.discord.world import Channel, Posted, User

__all__ = ["Channel", "DiscordTwin", "Posted", "User"]
