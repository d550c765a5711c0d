"""The gate: ids only, an empty list means nobody."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.chat.types import Author
from bot.admission import AccessList, Admitted, Denied, Gate
from tools.identity import ConversationKey, PlaceKind, PrincipalKind, tenant_of

ALICE = Author("U1", "member")
OPEN = AccessList(workspaces=frozenset({"T1"}), channels=frozenset({"C1"}), users=frozenset({"U1"}))


def slack(place: PlaceKind = "public", channel: str = "C1", team: str = "T1") -> ConversationKey:
    return ConversationKey(tenant_of("slack", team), place, channel, "1.1")


def admits(access: AccessList, key: ConversationKey, author: Author) -> bool:
    return isinstance(Gate({"slack": access, "discord": access}).admit(key, author), Admitted)


def test_a_named_person_in_a_named_channel_of_a_named_workspace_is_admitted() -> None:
    verdict = Gate({"slack": OPEN}).admit(slack(), ALICE)

    assert isinstance(verdict, Admitted)
    assert (verdict.principal.user_id, verdict.place.channel) == ("U1", "C1")


@pytest.mark.parametrize("empty", ["workspaces", "channels", "users"])
def test_an_empty_list_means_nobody(empty: str) -> None:
    without = msgspec.structs.replace(OPEN, **{empty: frozenset()})
    assert not admits(without, slack(), ALICE)


def test_a_platform_without_settings_admits_nobody() -> None:
    assert isinstance(Gate({}).admit(slack(), ALICE), Denied)


@pytest.mark.parametrize(
    ("key", "author"),
    [
        (slack(channel="C2"), ALICE),
        (slack(team="T2"), ALICE),
        (slack(), Author("U2", "member")),
        (slack(), Author("U1", "bot")),
        (slack(), Author("U1", "operator")),
        (slack(), Author("U1", "guest")),
        (slack(), Author("U1", "external")),
        (slack("external"), ALICE),
    ],
)
def test_anyone_or_anywhere_else_is_denied(key: ConversationKey, author: Author) -> None:
    assert not admits(OPEN, key, author)


def test_a_direct_message_needs_no_channel_to_be_named() -> None:
    assert admits(OPEN, slack("dm", channel="D9"), ALICE)


def test_on_discord_a_star_does_not_open_direct_messages_to_all_the_world() -> None:
    everyone = AccessList(
        workspaces=frozenset({"*"}), channels=frozenset({"*"}), users=frozenset({"*"})
    )
    dm = ConversationKey(tenant_of("discord", "dm"), "dm", "5")

    assert not admits(everyone, dm, ALICE)
    assert admits(OPEN, dm, ALICE)


def test_the_person_at_the_terminal_or_the_page_is_the_operator_and_nobody_else_is() -> None:
    for platform in ("terminal", "browser"):
        key = ConversationKey(tenant_of(platform, "local"), "dm", "t")
        assert admits(AccessList(), key, Author("operator", "operator"))
        assert not admits(OPEN, key, ALICE)


@given(
    st.sampled_from(get_args(PlaceKind)),
    st.sampled_from(get_args(PrincipalKind)),
    st.text(max_size=4),
    st.text(max_size=4),
)
def test_with_empty_lists_no_event_of_any_shape_is_admitted(
    place: PlaceKind, kind: PrincipalKind, channel: str, user: str
) -> None:
    key = ConversationKey(tenant_of("slack", "T1"), place, channel)
    assert not admits(AccessList(guests=True, external=True), key, Author(user, kind))
