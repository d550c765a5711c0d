"""Opens everything that lies in Redis, embedded or given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.stores import change_scripts, memory_scripts
from adapters.stores.batching import Batcher, Replicas, commands_of
from adapters.stores.blobs import RedisBlobs
from adapters.stores.budget import SPEND, RedisTally
from adapters.stores.changes import Changes
from adapters.stores.connection import Redis, check_server, connect, connect_cluster
from adapters.stores.dead import DeadLetters
from adapters.stores.doorbell import Doorbell
from adapters.stores.embedded import embedded_server
from adapters.stores.errors import StoreRefused
from adapters.stores.facts import RedisFacts
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from adapters.stores.mending import MEND
from adapters.stores.scripts import ALL
from adapters.stores.sealing import MasterKey, Seal, open_seal
from adapters.stores.threads import RedisThreads
from bot.settings import MemorySection, RedisSection, Settings


@dataclass(frozen=True, slots=True)
class Stores:
    redis: Redis
    batcher: Batcher
    keys: Keys
    ledger: Ledger
    changes: Changes
    dead: DeadLetters
    memory: RedisMemory
    facts: RedisFacts
    blobs: RedisBlobs
    threads: RedisThreads
    tally: RedisTally
    seal: Seal

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
        redis = _client(url, settings.redis)
        stack.push_async_callback(redis.aclose)
        all_scripts = (*ALL, *change_scripts.ALL, *memory_scripts.ALL, MEND, SPEND)
        version = await check_server(
            redis,
            embedded=given is None,
            allow_volatile=settings.redis.allow_volatile,
            prefix=settings.redis.prefix,
            commands=commands_of(all_scripts),
            wait_replicas=settings.redis.wait_replicas,
        )
        batcher = Batcher(
            redis,
            version=version,
            timeout_s=settings.redis.timeout_s,
            replicas=_replicas(settings.redis),
        )
        keys = Keys(settings.redis.prefix)
        stack.push_async_callback(batcher.aclose)
        await batcher.load(all_scripts)
        masters = master_keys(settings.memory)
        seal = await open_seal(batcher, keys, masters, read_plain=settings.memory.read_plain)
        lease_ms, kept = int(settings.turns.lease_s * 1000), settings.memory.retention_s
        yield Stores(
            redis,
            batcher,
            keys,
            Ledger(batcher, keys, lease_ms=lease_ms, retention_s=kept, seal=seal),
            Changes(batcher, keys, retention_s=kept, seal=seal),
            DeadLetters(batcher, keys, seal=seal),
            RedisMemory(batcher, keys, retention_s=kept, seal=seal),
            RedisFacts(batcher, keys, retention_s=kept, seal=seal),
            RedisBlobs(batcher, keys, retention_s=kept, seal=seal),
            RedisThreads(batcher, keys, seal=seal),
            RedisTally(batcher, keys),
            seal,
        )


def master_keys(memory: MemorySection) -> list[MasterKey]:
    """The newest first; raises `StoreRefused` for a file that holds none."""
    files = [*filter(None, [memory.key_file]), *memory.old_key_files]
    keys = [MasterKey(_text_of(file), where=str(file)) for file in files]
    if memory.key is not None:
        keys.insert(0, MasterKey(memory.key.get_secret_value(), where="memory.key"))
    return keys


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreRefused(f"{file}: can't be read ({type(error).__name__})") from error


def _client(url: str, redis: RedisSection) -> Redis:
    open_client = connect_cluster if redis.cluster else connect
    return open_client(url, max_connections=redis.max_connections, timeout_s=redis.timeout_s)


def _replicas(redis: RedisSection) -> Replicas:
    return Replicas(redis.wait_replicas, timeout_ms=int(redis.wait_timeout_s * 1000))
