"""A reply's way out: the placeholder, the final parts each once and in order, and taking back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from adapters.chat.types import (
    NO_OFFERS,
    AdapterError,
    ChatAdapter,
    DeliveryError,
    Message,
    NotOurs,
    Offers,
    ReplyFile,
    ReplyStream,
)
from adapters.stores.changes import Changes
from adapters.stores.errors import Halted
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from bot.follow_ups import read_answered
from bot.health import Metrics
from bot.parts import decode_part
from bot.records import part_token
from bot.running import RunningTurn

log = structlog.get_logger(__name__)

_SEND_TRIES = 3
NO_FILE = "_(I could not add the file {name}: it is refused here. My operator can tell why.)_"


class Delivery:
    """P8 and P9: puts replies in place, and takes them away."""

    def __init__(
        self,
        ledger: Ledger,
        changes: Changes,
        memory: RedisMemory,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._changes, self._memory = ledger, changes, memory
        self._metrics, self._clock = metrics, clock

    async def open(self, turn: RunningTurn, reply: ReplyStream) -> None:
        """The first visible sign, beside the work; its id is kept for a successor."""
        known = turn.placeholder
        opening = partial(reply.open, known, again=turn.may_be_open)
        placeholder = await _while_held(turn, opening)
        self._metrics.first_sign(self._clock() - turn.last.accepted_at)
        if placeholder != known:
            await self._ledger.note(turn.claim.lease, "placeholder", placeholder)

    async def put(
        self,
        turn: RunningTurn,
        reply: ReplyStream,
        outbox: Mapping[int, bytes],
        *,
        offers: Offers = NO_OFFERS,
    ) -> None:
        """Each part once and in order; the last one is recorded by `close`."""
        indexes, tried = sorted(outbox), turn.claim.tried_s_ago
        for index, then in zip(indexes, [*indexes[1:], None], strict=True):
            token, part = part_token(turn.turn_id, index), decode_part(outbox[index])
            is_last = then is None or _is_file(outbox[then])
            if isinstance(part, str):
                under = offers if is_last else NO_OFFERS
                send = partial(reply.deliver, index, part, token=token, offers=under)
                turn.posted[index] = await _insist(turn, send, tried.get(index))
            else:
                turn.posted[index] = await _attached(
                    turn, reply, index, part, token=token, tried_s_ago=tried.get(index)
                )
            if then is not None:
                await self._ledger.sent(turn.claim.lease, index, turn.posted[index], then=then)

    async def remember_last(self, turn: RunningTurn) -> None:
        """The last part is out, but the turn can't close: who takes it back needs its id."""
        if turn.posted:
            index = max(turn.posted)
            with contextlib.suppress(Halted):
                await self._ledger.sent(turn.claim.lease, index, turn.posted[index], then=None)

    async def take_back(self, turn: RunningTurn, adapter: ChatAdapter, reply: ReplyStream) -> None:
        """The question was deleted: nothing of its reply stays, nor of its memory."""
        if turn.placeholder is not None or turn.may_be_open:
            opening = partial(reply.open, turn.placeholder, again=turn.may_be_open)
            await _while_held(turn, opening)
        await reply.remove()
        await adapter.remove(turn.claim.lease.key, turn.message_ids)
        await self._memory.erase(turn.claim.lease.key, turn.turn_id)

    async def replace(self, turn: RunningTurn, adapter: ChatAdapter) -> None:
        """An answer is given anew: what was said before goes, but for its first message."""
        if (old := turn.last.replaces) is not None:
            await self._memory.erase(turn.claim.lease.key, old.turn_id)
            await adapter.remove(turn.claim.lease.key, old.message_ids[1:])

    async def erase(self, turn: RunningTurn, adapter: ChatAdapter) -> None:
        """A question was deleted after its answer: memory first, then what people see.

        The answer may have been given anew since the deletion was stored.
        """
        key, told = turn.claim.lease.key, turn.last.erases
        if told is None:
            return
        old = read_answered(await self._changes.answer(key, told.turn_id)) or told
        await self._memory.erase(key, old.turn_id)
        await adapter.remove(key, old.message_ids)
        await self._changes.drop_answer(key, {old.turn_id, *old.found_by})


async def _attached(
    turn: RunningTurn,
    reply: ReplyStream,
    index: int,
    file: ReplyFile,
    *,
    token: str,
    tried_s_ago: float | None,
) -> str:
    """The file's message id; where the platform takes no files, of a sentence that says so."""
    try:
        return await _insist(turn, partial(reply.attach, index, file, token=token), tried_s_ago)
    except DeliveryError as error:
        if error.retryable:
            raise
        log.warning("turn.file_refused", turn=turn.turn_id, error=str(error))
    text = NO_FILE.format(name=file.name)
    return await _insist(turn, partial(reply.deliver, index, text, token=token), tried_s_ago)


def _is_file(record: bytes) -> bool:
    return isinstance(decode_part(record), ReplyFile)


async def _while_held(turn: RunningTurn, send: Callable[[], Awaitable[str]]) -> str:
    """What was not sent, for the lease may have run out, is sent once it is surely held again.

    Raises `StaleLease` and `StoreUnavailable`.
    """
    while True:
        try:
            return await send()
        except NotOurs:
            await turn.hold.renew()


async def _insist(
    turn: RunningTurn, send: Callable[..., Awaitable[str]], tried_s_ago: float | None
) -> str:
    for attempt in range(1, _SEND_TRIES + 1):
        try:
            return await _while_held(turn, partial(send, tried_s_ago=tried_s_ago))
        except DeliveryError as error:
            if not error.retryable or attempt == _SEND_TRIES:
                raise
            tried_s_ago = tried_s_ago or 0.0
            await asyncio.sleep(2.0**attempt)
    raise AssertionError("the last try returns or raises")


async def notify(adapter: ChatAdapter, message: Message, sentence: str) -> None:
    """One sentence outside of any turn; if it can't be delivered, nothing is lost."""
    try:
        reply = adapter.reply(message)
        try:
            await reply.open(None)
            await reply.deliver(0, sentence, token=part_token(message.event_id, 0))
        finally:
            await reply.aclose()
    except AdapterError as error:
        log.warning("notice.undeliverable", adapter=adapter.name, error=str(error))
    except Exception as error:  # a lane of its own: it must not take the bot along
        log.exception("notice.failed", adapter=adapter.name, error=type(error).__name__)
