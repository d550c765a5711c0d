"""Where every adapter's events come in: the gate, then the ledger, then the doorbell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from adapters.chat.types import Command, Message, NotAccepted, Receipt
from adapters.stores.doorbell import Doorbell
from adapters.stores.errors import StoreUnavailable
from adapters.stores.ledger import Acceptance, Ledger
from bot.admission import Denied, Gate
from bot.commands import Commands
from bot.health import Metrics
from bot.records import Event, encode
from tools.labels import label_of

log = structlog.get_logger(__name__)

NOT_ALLOWED = "You are not allowed to use this bot here. Ask its operator."
BUSY = "I am still busy with your earlier messages here; please send this one again later."
_BUSY_AGAIN_S = 60.0
_BUSY_KEPT = 10_000
CUT = "\n[the message was longer than {:,} characters; the rest was cut]"
_RECEIPTS = {
    Acceptance.ACCEPTED: Receipt.ACCEPTED,
    Acceptance.KNOWN: Receipt.DUPLICATE,
    Acceptance.FULL: Receipt.FULL,
}
STORE_DOWN = "My memory is not reachable just now; please try again in a minute."


class BotInbox:
    """Implements `adapters.chat.types.Inbox`."""

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        bells: Mapping[str, Doorbell],
        commands: Commands,
        metrics: Metrics,
        *,
        max_waiting: int,
        max_chars: int,
        notify: Callable[[Message, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate, self._ledger, self._bells = gate, ledger, bells
        self._commands, self._metrics = commands, metrics
        self._max_waiting, self._max_chars = max_waiting, max_chars
        self._notify, self._clock = notify, clock
        self._tenants: set[tuple[str, str]] = set()
        self._told_busy: dict[str, float] = {}
        self._closed = False

    def close(self) -> None:
        """Take nothing more: the platform delivers it to the next process."""
        self._closed = True

    async def accept(self, message: Message) -> Receipt:
        """P1, before the platform gets its ack; see the protocol for the contract."""
        verdict = self._gate.admit(message.conversation, message.author)
        if isinstance(verdict, Denied):
            self._denied(message.adapter, verdict)
            return Receipt.DENIED
        if self._closed:
            raise NotAccepted("this process is stopping")
        message = self._tidied(message)
        event = Event(
            message,
            verdict.principal,
            verdict.place,
            label_of(verdict.place, verdict.principal),
            self._clock(),
        )
        try:
            accepted = await self._store(event)
        except StoreUnavailable as error:
            raise NotAccepted(str(error)) from error
        if accepted is Acceptance.FULL:
            log.warning("inbox.line_full", adapter=message.adapter)
            if message.addressing != "command":  # its adapter answers it at once
                self._say_busy(message)
        return _RECEIPTS[accepted]

    async def command(self, command: Command) -> str:
        verdict = self._gate.admit(command.conversation, command.author)
        if isinstance(verdict, Denied):
            self._denied(command.adapter, verdict)
            return NOT_ALLOWED
        try:
            return await self._commands.run(command.conversation, command.name, command.argument)
        except StoreUnavailable:
            return STORE_DOWN

    async def _store(self, event: Event) -> Acceptance:
        message = event.message
        key, adapter = message.conversation, message.adapter
        group = message.author.user_id
        if self._commands.parse(message.text):  # a command is a turn of its own
            group = f"{group}!{message.event_id}"
        if (adapter, key.tenant) not in self._tenants:
            await self._ledger.serve_tenant(adapter, key.tenant)
            self._tenants.add((adapter, key.tenant))
        accepted, _ = await asyncio.gather(
            self._ledger.accept(
                key,
                event_id=message.event_id,
                group=group,
                record=encode(event),
                sent_at=message.sent_at,
                max_waiting=self._max_waiting,
            ),
            self._bells[adapter].ring(str(key)),
        )
        return accepted

    def _say_busy(self, message: Message) -> None:
        """One notice a minute for a conversation, beside the ack and not before it."""
        now, key = self._clock(), str(message.conversation)
        if now - self._told_busy.get(key, 0.0) < _BUSY_AGAIN_S:
            return
        if len(self._told_busy) > _BUSY_KEPT:
            self._told_busy.clear()
        self._told_busy[key] = now
        self._notify(message, BUSY)

    def _tidied(self, message: Message) -> Message:
        """The message as it can be stored: valid Unicode, and not longer than allowed."""
        text = message.text[: self._max_chars].encode(errors="replace").decode()
        if len(message.text) > self._max_chars:
            text += CUT.format(self._max_chars)
        return msgspec.structs.replace(message, text=text)

    def _denied(self, adapter: str, verdict: Denied) -> None:
        self._metrics.denied(adapter)
        log.info("admission.denied", adapter=adapter, reason=verdict.reason)
