"""What this process heard lately in each channel, and what was deleted there.

Slack tells a mention twice, as a mention and as a message: the second is waved through without a
look at the store once the first is stored. The store's own mark counts for everybody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from adapters.chat.types import Inbox, Message, Receipt

REMEMBERED = 10_000
_REMOVED = 2_000
_STORED = frozenset({Receipt.ACCEPTED, Receipt.DUPLICATE})


class Heard:
    """Accepts into `inbox` and remembers where; bounded, for this process only."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._channels = OrderedDict[str, str]()
        self._removed = OrderedDict[str, None]()
        self._under_way: dict[str, asyncio.Event] = {}

    def knows(self, event_id: str) -> bool:
        """Whether it was stored lately."""
        return event_id in self._channels

    async def accept(self, message: Message) -> Receipt:
        """A deletion may overtake the message, above all where it had to be sent again."""
        if message.event_id in self._removed:
            return Receipt.ACCEPTED
        while first := self._under_way.get(message.event_id):
            await first.wait()
        if self.knows(message.event_id):
            return Receipt.DUPLICATE
        done = self._under_way[message.event_id] = asyncio.Event()
        try:
            receipt = await self._inbox.accept(message)
        finally:
            done.set()
            del self._under_way[message.event_id]
        if receipt in _STORED:
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
