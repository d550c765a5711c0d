"""What waits to be said later, on real servers."""

from __future__ import annotations

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys
from adapters.stores.ledger import Acceptance, Ledger
from adapters.stores.reminders import ALL, MOST_OF_ONE, RedisReminders
from adapters.stores.scripts import ALL as LEDGER
from tools.identity import ConversationKey

HERE = ConversationKey("slack:T1", "public", "C1", "1.2")
TENANT = HERE.tenant


async def kept(store: RedisReminders, event_id: str, *, user: str = "U1", at: float = 100) -> bool:
    record = f"record of {event_id}".encode()
    return await store.keep(HERE, event_id, user_id=user, record=record, due_at=at)


async def test_only_what_is_due_is_found_the_oldest_first(batcher: Batcher, keys: Keys) -> None:
    await batcher.load((*ALL, *LEDGER))
    store = RedisReminders(batcher, keys)
    for event_id, at in (("c", 300.0), ("b", 200.0), ("a", 100.0)):
        assert await kept(store, event_id, at=at)

    assert [each.due_at for each in await store.due(TENANT, 250)] == [100, 200]
    assert [each.record for each in await store.of(TENANT, "U1")] == [
        b"record of a",
        b"record of b",
        b"record of c",
    ]
    assert await store.of(TENANT, "U2") == []


async def test_what_is_set_twice_waits_once_and_one_person_has_a_limit(
    batcher: Batcher, keys: Keys
) -> None:
    await batcher.load(ALL)
    store = RedisReminders(batcher, keys)
    for n in range(MOST_OF_ONE):
        assert await kept(store, f"e{n}")
    assert await kept(store, "e0")

    assert not await kept(store, "one too many")
    assert await kept(store, "another's", user="U2")
    assert len(await store.of(TENANT, "U1")) == MOST_OF_ONE


async def test_a_crash_between_the_ledger_and_the_drop_says_it_once(
    batcher: Batcher, keys: Keys, ledger: Ledger
) -> None:
    await batcher.load((*ALL, *LEDGER))
    store = RedisReminders(batcher, keys)
    await kept(store, "reminder!t.1")
    seen = []
    for _ in range(2):  # the second sweep is that of another process
        [due] = await store.due(TENANT, 100)
        accepted = await ledger.accept(
            HERE,
            event_id="reminder!t.1",
            group="!",
            record=due.record,
            sent_at=100,
            max_waiting=9,
        )
        seen.append(accepted)
    assert seen == [Acceptance.ACCEPTED, Acceptance.KNOWN]
    assert await store.drop(TENANT, due.name) == 1
    assert await store.due(TENANT, 100) == []


async def test_what_is_forgotten_is_never_due(batcher: Batcher, keys: Keys) -> None:
    await batcher.load(ALL)
    store = RedisReminders(batcher, keys)
    await kept(store, "reminder!t1.1")
    await kept(store, "reminder!t2.1")
    await kept(store, "reminder!t3.1", user="U2")

    assert await store.forget(TENANT, event="reminder!t1.") == 1
    assert await store.forget(TENANT, user_id="U2") == 1
    assert await store.forget(TENANT, conversation=str(HERE)) == 1
    assert await store.due(TENANT, 1e9) == []


async def test_one_whose_record_was_lost_is_dropped(batcher: Batcher, keys: Keys) -> None:
    await batcher.load(ALL)
    store = RedisReminders(batcher, keys)
    await kept(store, "a")
    await batcher.command("DEL", keys.reminders(TENANT))

    assert await store.due(TENANT, 100) == []
    assert await batcher.command("ZCARD", keys.later(TENANT)) == 0
