"""Where something was said on Discord, and where it is answered."""

from __future__ import annotations

from adapters.chat.types import Message

_EPOCH_MS = 1_420_070_400_000


def spot(channel_id: int, message_id: int, *, own_thread: bool = False) -> str:
    """`Message.message_id` on Discord: a chain's key alone can't tell where it was said, nor
    that the answer goes into a thread that begins at the message."""
    return f"{channel_id}/{message_id}" + "/thread" * own_thread


def spot_of(message: Message) -> tuple[int, int]:
    """The channel or thread where it was said, and the message.

    What the bot says unasked answers no message: then it is an id of that time, for looking what
    came after.
    """
    if not message.message_id:
        key = message.conversation
        return int(key.thread or key.channel), _id_at(message.sent_at)
    channel_id, message_id = message.message_id.split("/")[:2]
    return int(channel_id), int(message_id)


def _id_at(seconds: float) -> int:
    """The first id of that second (docs.discord.com, reference, snowflakes)."""
    return int(seconds * 1000 - _EPOCH_MS) << 22


def place_of_reply(message: Message) -> int:
    """The channel or thread that a reply goes to; a thread has the id of its first message."""
    channel_id, message_id = spot_of(message)
    return message_id if opens_thread(message) else channel_id


def opens_thread(message: Message) -> bool:
    return message.message_id.endswith("/thread")
