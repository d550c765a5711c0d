"""No two conversations share a key, whatever their ids hold."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from adapters.stores.key_kinds import kind_of, tenant_in
from adapters.stores.keys import Keys
from tools.identity import ConversationKey, PlaceKind, tenant_tag

ids = st.text(alphabet="a1:{}/-*?[]\n\\%é", max_size=6)
conversations = st.builds(
    ConversationKey,
    tenant=ids,
    place=st.sampled_from(get_args(PlaceKind)),
    channel=ids,
    thread=st.none() | ids,
)


@given(conversations, conversations)
def test_different_conversations_have_different_keys(
    one: ConversationKey, other: ConversationKey
) -> None:
    assert (str(one) == str(other)) == (one == other)
    assert (one == other) == bool(set(Keys("p").of(one)[:8]) & set(Keys("p").of(other)[:8]))


@given(conversations)
def test_a_key_reads_back_as_the_conversation_it_came_from(key: ConversationKey) -> None:
    assert ConversationKey.parse(str(key)) == key


@given(ids, ids, ids, ids)
def test_event_marks_never_collide(tenant: str, event: str, other: str, id_: str) -> None:
    same = (tenant, event) == (other, id_)
    assert (Keys("p").seen(tenant, event) == Keys("p").seen(other, id_)) == same


@given(conversations)
def test_all_keys_of_a_tenant_carry_its_hash_tag(key: ConversationKey) -> None:
    assert all(tenant_tag(key.tenant) in name for name in Keys("p").of(key))


@given(ids, ids, ids, ids, st.sampled_from(["user", "channel"]))
def test_nobody_spends_from_anothers_budget(
    tenant: str, name: str, other: str, their_name: str, kind: str
) -> None:
    keys, same = Keys("p"), (tenant, name) == (other, their_name)
    mine = keys.spent(tenant, "2026-05-04", kind, name)

    assert (mine == keys.spent(other, "2026-05-04", kind, their_name)) == same
    assert mine != keys.spent(tenant, "2026-05-05", kind, name)
    assert mine != keys.spent(tenant, "2026-05-04", "other", name)
    assert tenant_tag(tenant) in mine


@given(conversations, ids)
def test_a_name_tells_its_kind_whatever_its_ids_hold(key: ConversationKey, user_id: str) -> None:
    keys = Keys("p")
    root = keys.tenants("").removesuffix("tenants:")
    memory, facts = (
        name.removeprefix(root) for name in (keys.memory(key), keys.facts(key.tenant, user_id))
    )

    assert kind_of(memory)[:2] == (key, "memory")
    assert kind_of(facts)[:2] == (None, "facts")
    assert tenant_in(memory) == tenant_in(facts) == key.tenant
