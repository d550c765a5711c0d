"""Opens everything that lies in Redis, embedded or given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from adapters.stores import change_scripts
from adapters.stores.batching import Batcher
from adapters.stores.blobs import RedisBlobs
from adapters.stores.budget import SPEND, RedisTally
from adapters.stores.changes import Changes
from adapters.stores.connection import Redis, check_server, connect
from adapters.stores.dead import DeadLetters
from adapters.stores.doorbell import Doorbell
from adapters.stores.embedded import embedded_server
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from adapters.stores.scripts import ALL
from adapters.stores.threads import RedisThreads
from bot.settings import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    redis: Redis
    batcher: Batcher
    keys: Keys
    ledger: Ledger
    changes: Changes
    dead: DeadLetters
    memory: RedisMemory
    blobs: RedisBlobs
    threads: RedisThreads
    tally: RedisTally

    def bell(self, adapter: str, *, consumer: str) -> Doorbell:
        return Doorbell(self.redis, self.batcher, self.keys, adapter=adapter, consumer=consumer)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Connect, check and hand out; raises `StoreRefused` or `StoreUnavailable`."""
    async with AsyncExitStack() as stack:
        given = settings.redis.url
        if given is not None:
            url = given.get_secret_value()
        else:
            url = await stack.enter_async_context(embedded_server(settings.data_dir))
        redis = connect(url, max_connections=settings.redis.max_connections)
        stack.push_async_callback(redis.aclose)
        version = await check_server(
            redis, embedded=given is None, allow_volatile=settings.redis.allow_volatile
        )
        batcher, keys = Batcher(redis, version=version), Keys(settings.redis.prefix)
        stack.push_async_callback(batcher.aclose)
        await batcher.load((*ALL, *change_scripts.ALL, SPEND))
        yield Stores(
            redis,
            batcher,
            keys,
            Ledger(batcher, keys, lease_ms=int(settings.turns.lease_s * 1000)),
            Changes(batcher, keys),
            DeadLetters(batcher, keys),
            RedisMemory(batcher, keys),
            RedisBlobs(batcher, keys),
            RedisThreads(batcher, keys),
            RedisTally(batcher, keys),
        )
