"""Opens everything that lies in Redis, embedded or given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.stores import (
    approvals,
    change_scripts,
    journal,
    memory_scripts,
    redis_doorbell,
    reminders,
)
from adapters.stores.approvals import RedisApprovals
from adapters.stores.batching import Batcher, Replicas, commands_of
from adapters.stores.blobs import RedisBlobs
from adapters.stores.budget import SPEND, TAKE_QUOTA, RedisTally
from adapters.stores.changes import Changes
from adapters.stores.connection import Redis, check_server, connect, connect_cluster
from adapters.stores.dead import DeadLetters
from adapters.stores.doorbell import Doorbell
from adapters.stores.embedded import embedded_server
from adapters.stores.errors import StoreRefused
from adapters.stores.facts import RedisFacts
from adapters.stores.feedback import KEEP, RedisFeedback
from adapters.stores.hand_overs import RedisHandOvers
from adapters.stores.identifies import TAKE, RedisIdentifies
from adapters.stores.journal import Journal
from adapters.stores.keys import Keys
from adapters.stores.leaving import RedisLeaving
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from adapters.stores.mending import MEND
from adapters.stores.redis_doorbell import RedisDoorbell
from adapters.stores.reminders import RedisReminders
from adapters.stores.scripts import ALL
from adapters.stores.sealing import MasterKey, Seal, open_seal
from adapters.stores.threads import RedisThreads
from bot.settings import MemorySection, RedisSection, Settings

if TYPE_CHECKING:
    from adapters.stores.nats_doorbell import NatsBells

_AFTER_LEASE_S = 1.0  # a dead worker's ring that came back before its lease ended would be lost


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
    feedback: RedisFeedback
    blobs: RedisBlobs
    approvals: RedisApprovals
    journal: Journal
    reminders: RedisReminders
    hand_overs: RedisHandOvers
    leaving: RedisLeaving
    threads: RedisThreads
    tally: RedisTally
    seal: Seal
    settings: Settings
    nats: NatsBells | None

    def identifies(self, adapter: str, *, per_day: int) -> RedisIdentifies:
        return RedisIdentifies(self.batcher, self.keys, adapter=adapter, per_day=per_day)

    def doorbell_fault(self) -> str:
        """Why nothing rings now: a doorbell on Redis fails with Redis, NATS by itself."""
        away = self.nats is not None and not self.nats.client.is_connected
        return "NATS is not connected" if away else ""

    def bell(self, adapter: str, *, consumer: str) -> Doorbell:
        """The doorbell of one adapter; `consumer` names this process."""
        redis, turns = self.settings.redis, self.settings.turns
        idle_ms = int((turns.lease_s + _AFTER_LEASE_S) * 1000)
        if self.nats is not None:
            return self.nats.bell(adapter, idle_ms=idle_ms)
        return RedisDoorbell(
            self.redis,
            self.batcher,
            self.keys,
            adapter=adapter,
            consumer=consumer,
            shards=redis.shards,
            idle_ms=idle_ms,
            longest_wait_ms=int(redis.timeout_s * 500),
        )


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
        all_scripts = (
            *(*ALL, *change_scripts.ALL, *memory_scripts.ALL, *redis_doorbell.ALL),
            *(*approvals.ALL, *journal.ALL, *reminders.ALL),
            *(MEND, SPEND, TAKE_QUOTA, TAKE, KEEP),
        )
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
            RedisFeedback(batcher, keys, retention_s=kept, seal=seal),
            RedisBlobs(batcher, keys, retention_s=kept, seal=seal),
            RedisApprovals(batcher, keys, retention_s=kept, seal=seal),
            Journal(batcher, keys, retention_s=settings.memory.audit_days * 24 * 3600),
            RedisReminders(batcher, keys, seal=seal),
            RedisHandOvers(batcher, keys, seal=seal),
            RedisLeaving(batcher, keys),
            RedisThreads(batcher, keys, retention_s=kept, seal=seal),
            RedisTally(batcher, keys),
            seal,
            settings,
            await stack.enter_async_context(_nats(settings)),
        )


@asynccontextmanager
async def _nats(settings: Settings) -> AsyncIterator[NatsBells | None]:
    """The doorbell's NATS, where the settings name one."""
    if (url := settings.doorbell.url) is None:
        yield None
        return
    try:
        from adapters.stores.nats_doorbell import connect_nats
    except ImportError as error:
        raise StoreRefused(
            "doorbell.url needs nats-py: pip install 'firstline[nats]', or unset it to use Redis"
        ) from error
    prefix, replicas = settings.redis.prefix, settings.doorbell.replicas
    async with connect_nats(url.get_secret_value(), prefix=prefix, replicas=replicas) as bells:
        yield bells


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
