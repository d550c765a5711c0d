"""Whether what a fake Discord sends has the shape that discord.py's own types promise."""

from __future__ import annotations

from typing import Any

from bot.testing.shapes import Shapes

EVENTS = {
    "READY": "gateway.ReadyEvent",
    "GUILD_CREATE": "guild.Guild",
    "GUILD_DELETE": "guild.UnavailableGuild",
    "MESSAGE_CREATE": "message.Message",
    "MESSAGE_UPDATE": "message.Message",
    "MESSAGE_DELETE": "gateway.MessageDeleteEvent",
    "MESSAGE_DELETE_BULK": "gateway.MessageDeleteBulkEvent",
    "INTERACTION_CREATE": "interactions.Interaction",
    "CHANNEL_CREATE": "channel.GuildChannel",
    "CHANNEL_DELETE": "channel.GuildChannel",
    "THREAD_CREATE": "gateway.ThreadCreateEvent",
    "THREAD_UPDATE": "threads.Thread",
    "THREAD_DELETE": "gateway.ThreadDeleteEvent",
}
_MESSAGES, _COMMANDS = "/channels/{channel}/messages", "/applications/{app}/commands"
_ORIGINAL = "/webhooks/{app}/{token}/messages/@original"
ANSWERS = {
    "GET /users/@me": "user.User",
    "GET /gateway": "gateway.Gateway",
    "GET /gateway/bot": "gateway.GatewayBot",
    "GET /oauth2/applications/@me": "appinfo.AppInfo",
    f"GET {_COMMANDS}": "command.ApplicationCommand",
    f"PUT {_COMMANDS}": "command.ApplicationCommand",
    f"GET {_MESSAGES}": "message.Message",
    f"POST {_MESSAGES}": "message.Message",
    f"GET {_MESSAGES}/{{message}}": "message.Message",
    f"PATCH {_MESSAGES}/{{message}}": "message.Message",
    f"POST {_MESSAGES}/{{message}}/threads": "threads.Thread",
    "POST /interactions/{id}/{token}/callback": "interactions.InteractionCallback",
    "POST /webhooks/{app}/{token}": "message.Message",
    f"GET {_ORIGINAL}": "message.Message",
    f"PATCH {_ORIGINAL}": "message.Message",
}
# Without a type: operations, and a route that discord.py never calls
EMPTY = frozenset({"RESUMED", "op 7", "op 9", "op 10", "op 11"})
EMPTY |= {"POST /attachments/refresh-urls 200"}
LISTS = frozenset({f"GET {_COMMANDS}", f"PUT {_COMMANDS}", f"GET {_MESSAGES}"})
# Keys that Discord documents and discord.py's types leave out
BESIDE = frozenset(
    {
        "ComponentBase.*",  # checked as what they are, below
        "Message.guild_id",
        "Thread.nsfw",
        "ThreadCreateEvent.nsfw",
        "TextChannel.flags",
        "_StringApplicationCommandOption.required",
        "ApplicationCommandInteraction.member",
        "ApplicationCommandInteraction.user",
        "MessageComponentInteraction.member",
        "MessageComponentInteraction.user",
        "MessageComponentInteraction.message",
        "ButtonMessageComponentInteractionData.id",
        "ModalSubmitInteraction.member",
        "ModalSubmitInteraction.user",
    }
)


class DiscordShapes:
    """Keeps the types that it has read."""

    def __init__(self) -> None:
        self._shapes = Shapes("discord.types", beside=BESIDE)

    def deviations(self, name: str, sent: Any) -> list[str]:
        """Of an event (`MESSAGE_CREATE`) or of an answer (`GET /users/@me 200`)."""
        route, _, status = name.rpartition(" ")
        if (
            _is_broken(sent)
            or name in EMPTY
            or sent is None
            or (status.isdecimal() and not status.startswith("2"))
        ):
            return []
        if name in EVENTS:
            return self._of(sent, EVENTS[name])
        if route in ("GET /channels/{channel}", "PATCH /channels/{channel}"):
            return self._of(sent, _channel_type(sent))
        if route not in ANSWERS:
            return [f"{name}: no type is known"]
        every = sent if route in LISTS else [sent]
        return [found for each in every for found in self._of(each, ANSWERS[route])]

    def _of(self, sent: Any, kind: str) -> list[str]:
        found = self._shapes.deviations(sent, kind)
        components = sent.get("components") or () if isinstance(sent, dict) else ()
        for each in components:
            found += self._shapes.deviations(each, "components.Component")
        return found


def _is_broken(sent: Any) -> bool:
    """By intent: the explicit null of `crash_clients`."""
    return isinstance(sent, dict) and sent.get("guild_id", "") is None


def _channel_type(channel: Any) -> str:
    kinds = {1: "channel.DMChannel", 11: "threads.Thread"}
    return kinds.get(channel.get("type"), "channel.GuildChannel")
