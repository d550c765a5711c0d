"""Load for the store's drills: events that are resent until they are accepted, as platforms do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from adapters.stores.batching import Batcher, Replicas
from adapters.stores.connection import connect, server_version
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.ledger import Acceptance, Ledger
from adapters.stores.scripts import ALL
from tools.identity import ConversationKey

PLACES = tuple(ConversationKey("slack:T1", "public", "C1", f"{number}.0") for number in range(20))
MANY = 1_000_000


@asynccontextmanager
async def ledger_at(
    url: str, *, timeout_s: float = 2.0, replicas: Replicas | None = None, prefix: str = "t"
) -> AsyncIterator[Ledger]:
    async with batching(url, timeout_s=timeout_s, replicas=replicas) as batcher:
        await batcher.load(ALL)
        yield Ledger(batcher, Keys(prefix), lease_ms=60_000)


@asynccontextmanager
async def batching(
    url: str, *, timeout_s: float = 2.0, replicas: Replicas | None = None
) -> AsyncIterator[Batcher]:
    client = connect(url, timeout_s=timeout_s)
    batcher = Batcher(
        client, version=await server_version(client), timeout_s=timeout_s, replicas=replicas
    )
    yield batcher
    await batcher.aclose()
    await client.aclose()


class Platform:
    """Says new events and repeats what was not acknowledged; remembers what was."""

    def __init__(self, ledger: Ledger, *, senders: int = 8, dice: random.Random) -> None:
        self._ledger, self._senders, self._dice = ledger, senders, dice
        self._numbers = iter(range(MANY))
        self.acknowledged: list[str] = []
        self.refused, self.why = 0, ""
        self.slowest_s = 0.0
        self.last_ack = monotonic()
        self._ends = False

    async def __aenter__(self) -> Platform:
        self._tasks = [asyncio.create_task(self._say()) for _ in range(self._senders)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends when each sender's last event is acknowledged or given up."""
        self._ends = True
        await asyncio.gather(*self._tasks)

    async def _say(self) -> None:
        while not self._ends:
            event_id = f"e{next(self._numbers)}"
            for _ in range(MANY):
                if await self._deliver(event_id) or self._ends:
                    break
                await asyncio.sleep(0.02)

    async def _deliver(self, event_id: str) -> bool:
        began = monotonic()
        try:
            answer = await accept(self._ledger, event_id)
        except StoreUnavailable as error:
            self.refused, self.why = self.refused + 1, str(error)
            return False
        finally:
            self.slowest_s = max(self.slowest_s, monotonic() - began)
        assert answer is not Acceptance.FULL
        self.acknowledged.append(event_id)
        self.last_ack = monotonic()
        if self._dice.random() < 0.2:
            await accept_quietly(self._ledger, event_id)  # platforms resend what they have
        return True


async def accept(ledger: Ledger, event_id: str) -> Acceptance:
    return await ledger.accept(
        PLACES[hash(event_id) % len(PLACES)],
        event_id=event_id,
        group="U1",
        record=event_id.encode(),
        sent_at=1.0,
        max_waiting=MANY,
    )


async def accept_quietly(ledger: Ledger, event_id: str) -> None:
    try:
        await accept(ledger, event_id)
    except StoreUnavailable:
        return


async def stored(ledger: Ledger, places: Iterable[ConversationKey] = PLACES) -> Counter[str]:
    """Every event the ledger has, by how many turns would answer it."""
    found: Counter[str] = Counter()
    for place in places:
        while claim := await ledger.claim(place, owner="auditor"):
            found.update(record.decode() for record in claim.events)
            await ledger.close(claim.lease, turn_id="t", state="answered", reason="")
    return found


def verdict(acknowledged: Sequence[str], found: Counter[str]) -> tuple[int, int]:
    """(lost, doubled): acknowledged events that are not there, events that are there twice."""
    lost = sum(event not in found for event in acknowledged)
    return lost, sum(count > 1 for count in found.values())


async def until(condition: Callable[..., bool]) -> None:
    """Looks often; the test's own time limit ends it."""
    while not condition():  # noqa: ASYNC110 (a test may look at anything)
        await asyncio.sleep(0.002)


class LoopLag:
    """How late the event loop came to something that was due every 5 ms."""

    def __init__(self) -> None:
        self._lags: list[float] = []

    async def __aenter__(self) -> LoopLag:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _tick(self) -> None:
        while True:
            due = monotonic() + 0.005
            await asyncio.sleep(0.005)
            self._lags.append(max(0.0, monotonic() - due))

    @property
    def p99_ms(self) -> float:
        return sorted(self._lags)[int(len(self._lags) * 0.99)] * 1000
