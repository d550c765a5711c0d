"""What this process heard lately in each channel, and what was deleted there."""

from __future__ import annotations

from collections import OrderedDict

from adapters.chat.types import Inbox, Message, Receipt

REMEMBERED = 10_000
_REMOVED = 2_000


class Heard:
    """Accepts into `inbox` and remembers where; bounded, for this process only."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._channels = OrderedDict[str, str]()
        self._removed = OrderedDict[str, None]()

    async def accept(self, message: Message) -> Receipt:
        """A deletion may overtake the message, above all where it had to be sent again."""
        if message.event_id in self._removed:
            return Receipt.ACCEPTED
        receipt = await self._inbox.accept(message)
        self._channels[message.event_id] = message.conversation.channel
        if len(self._channels) > REMEMBERED:
            self._channels.popitem(last=False)
        return receipt

    def removed(self, event_id: str) -> None:
        self._removed[event_id] = None
        if len(self._removed) > _REMOVED:
            self._removed.popitem(last=False)

    def events_in(self, channel: str) -> list[str]:
        return [event_id for event_id, where in self._channels.items() if where == channel]
