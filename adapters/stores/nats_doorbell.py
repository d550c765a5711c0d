"""The doorbell on NATS JetStream (extra `nats`), for rings that several machines must keep.

One work-queue stream holds all rings, a durable pull consumer for each adapter hands them out.
`Nats-Msg-Id` is not used: JetStream would drop a second ring of two minutes as a repetition.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from adapters.stores.doorbell import Ring
from adapters.stores.errors import StoreRefused, StoreUnavailable

log = structlog.get_logger(__name__)

_CONNECT_S = 5.0
_TIMEOUT_S = 1.0
_RECONNECT_S = 0.25
_LOOK_S = 2.0
_MAX_RINGS = 100_000  # a ring that falls off is repaired by the sweeper
_FORGET_S = 7 * 24 * 3600  # a consumer that nobody asked for so long goes; its rings stay
_OTHER_CONFIG = 10058  # JetStream's "stream name already in use"


class NatsBells:
    """One connection, and the stream of `prefix`; made by `connect_nats`."""

    def __init__(self, client: Client, *, prefix: str, replicas: int) -> None:
        self.client, self.stream, self._replicas = client, f"{prefix}_bells", replicas
        self.jetstream: JetStreamContext = client.jetstream(timeout=_TIMEOUT_S)

    def bell(self, adapter: str, *, idle_ms: int) -> NatsDoorbell:
        return NatsDoorbell(self, adapter=adapter, idle_ms=idle_ms)

    def subject(self, adapter: str) -> str:
        return f"{self.stream}.{adapter}"

    async def make_stream(self) -> None:
        config = StreamConfig(
            name=self.stream,
            subjects=[self.subject("*")],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_msgs=_MAX_RINGS,
            num_replicas=self._replicas,
        )
        try:
            await self.jetstream.add_stream(config)
        except APIError as error:
            if error.err_code != _OTHER_CONFIG:
                raise
            await self.jetstream.update_stream(config)


@asynccontextmanager
async def connect_nats(
    url: str, *, prefix: str, replicas: int = 1, consumer: str = "firstline"
) -> AsyncIterator[NatsBells]:
    """Connect to the servers of `url` (several with commas) and make the stream.

    Raises `StoreUnavailable` when none answers, `StoreRefused` when JetStream can't be had.
    """
    client = Client()
    try:
        await _connect(client, url, consumer)
        bells = NatsBells(client, prefix=prefix, replicas=replicas)
        await _prepare(bells)
        yield bells
    finally:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                await client.close()


async def _connect(client: Client, url: str, name: str) -> None:
    last: list[str] = []

    async def failed(error: Exception) -> None:
        last[:] = [type(error).__name__]
        log.debug("nats.error", error=last[0])

    async def disconnected() -> None:
        if not client.is_closed:
            log.warning("nats.down")

    async def reconnected() -> None:
        log.info("nats.back")

    try:
        async with asyncio.timeout(_CONNECT_S):
            await client.connect(
                [part.strip() for part in url.split(",")],
                name=name,
                error_cb=failed,
                disconnected_cb=disconnected,
                reconnected_cb=reconnected,
                connect_timeout=2,
                reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]  # it takes fractions
                max_reconnect_attempts=-1,
                ping_interval=5,
            )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        why = last[0] if last else type(error).__name__
        raise StoreUnavailable(
            f"the NATS server of doorbell.url does not answer ({why}): start it, mend the "
            "address or its password, or unset doorbell.url to use Redis"
        ) from error


async def _prepare(bells: NatsBells) -> None:
    try:
        await bells.jetstream.account_info()
        await bells.make_stream()
    except ServiceUnavailableError as error:
        raise StoreRefused(
            "the NATS server of doorbell.url has no JetStream: start it with -js, or unset "
            "doorbell.url to use Redis"
        ) from error
    except APIError as error:
        raise StoreRefused(
            f"NATS refuses the doorbell's stream {bells.stream!r}: {error.description}; see "
            "doorbell.replicas and the rights of its user"
        ) from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"NATS: {type(error).__name__}") from error


class NatsDoorbell:
    """One adapter's rings; made by `NatsBells.bell`."""

    def __init__(self, bells: NatsBells, *, adapter: str, idle_ms: int) -> None:
        # A name may hold what NATS gives a meaning to: dots, spaces, slashes.
        adapter = re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}_", adapter)
        self._bells, self._client, self._jetstream = bells, bells.client, bells.jetstream
        self._subject, self._durable = bells.subject(adapter), adapter
        self._idle_s = idle_ms / 1000
        self._pull: JetStreamContext.PullSubscription | None = None
        self._look_at = 0.0
        self.is_in_step = False
        self._held: dict[str, Msg] = {}
        self._unwanted: asyncio.Task[None] | None = None

    async def open(self) -> None:
        with self._answering():
            await self._bells.make_stream()
            await self._jetstream.add_consumer(
                self._bells.stream,
                ConsumerConfig(
                    durable_name=self._durable,
                    filter_subject=self._subject,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._idle_s,
                    max_deliver=-1,  # the ledger counts a turn's deaths
                    max_ack_pending=_MAX_RINGS,
                    inactive_threshold=_FORGET_S,
                ),
            )
            if self._pull is None:
                self._pull = await self._jetstream.pull_subscribe_bind(
                    self._durable, self._bells.stream
                )

    async def ring(self, conversation: str) -> None:
        with self._answering():
            try:
                await self._jetstream.publish(self._subject, conversation.encode())
            except NoStreamResponseError:  # the server lost its files (as in B8)
                await self._bells.make_stream()
                await self._jetstream.publish(self._subject, conversation.encode())

    async def take(self, *, limit: int = 64, wait_ms: int) -> list[Ring]:
        """One ring at most: a pull for more would wait for the last of them."""
        fetching = asyncio.create_task(self._fetch(wait_ms / 1000), name="nats.fetch")
        try:
            return await asyncio.shield(fetching)
        except asyncio.CancelledError:
            # The server may be handing one out just now.
            self._unwanted = asyncio.create_task(self._return(fetching), name="nats.return")
            raise

    async def renew(self, ring: Ring) -> None:
        message = self._held.get(ring.entry_id)
        if message is not None:
            with self._answering():
                await message.in_progress()

    async def done(self, ring: Ring) -> None:
        message = self._held.pop(ring.entry_id, None)
        if message is not None:
            with self._answering():
                await message.ack_sync(timeout=_TIMEOUT_S)

    async def give_back(self, ring: Ring) -> None:
        message = self._held.pop(ring.entry_id, None)
        if message is not None:
            with self._answering():
                await message.nak()

    async def aclose(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            if self._unwanted is not None:
                await self._unwanted
            for entry_id in list(self._held):
                await self.give_back(Ring(entry_id, ""))
            with self._answering():
                if self._pull is not None:
                    await self._pull.unsubscribe()
                await self._client.flush(timeout=1)

    async def _fetch(self, wait_s: float) -> list[Ring]:
        if self._pull is None:
            raise StoreUnavailable("NATS: the doorbell is not open")
        with self._answering():
            try:
                messages = await self._pull.fetch(1, timeout=wait_s)
            except TimeoutError:
                await self._look()
                return []
        for message in messages:
            self._held[message.reply] = message
        return [Ring(each.reply, each.data.decode(errors="replace")) for each in messages]

    async def _look(self) -> None:
        """Set the consumer up again if it is gone (as in B8): a pull from none is just silent."""
        if monotonic() < self._look_at:
            return
        self._look_at = monotonic() + _LOOK_S
        try:
            await self._jetstream.consumer_info(self._bells.stream, self._durable)
        except NotFoundError:
            await self.open()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        if not self._client.is_connected:
            raise StoreUnavailable("NATS: not connected")  # else it would be sent much later
        try:
            yield
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"NATS: {type(error).__name__}") from error

    async def _return(self, fetching: asyncio.Task[list[Ring]]) -> None:
        with contextlib.suppress(StoreUnavailable):
            for ring in await fetching:
                await self.give_back(ring)
