"""Rows of the fault matrix that no other suite holds: H4, H5, H7, K5."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Author, Message
from adapters.stores.facts import Fact
from adapters.stores.retention import TenantPurge
from bot.app import Bot
from bot.leaving import PURGE_AFTER_S, Leaving
from bot.settings import SettingsError, load_settings
from tests.bot.approval_bot import Chat, final, message, model
from tests.bot.test_approvals import running
from tests.bot.test_bot import until
from tools.identity import ConversationKey, PlaceKind, PrincipalKind, tenant_of
from tools.labels import Label

TENANT = tenant_of("slack", "T1")
OPEN: dict[str, object] = {
    "slack.allow.workspaces": ["T1"],
    "slack.allow.channels": ["C1"],
    "slack.allow.users": ["U1", "U2"],
    "slack.allow.guests": True,
    "slack.allow.external": True,
}
SECRET = "the merger is called Bluebird"


def said(
    text: str,
    *,
    place: PlaceKind = "public",
    who: PrincipalKind = "member",
    number: int = 1,
    user: str = "U1",
) -> Message:
    found = message(text, number=number, adapter="slack")
    key = ConversationKey(TENANT, place, "D1" if place == "dm" else "C1", None)
    return msgspec.structs.replace(
        found, conversation=key, author=Author(user, who), addressing="mention"
    )


async def ask(bot: Bot, chat: Chat, asked: Message) -> None:
    await bot.inbox.accept(asked)
    await until(lambda: asked.message_id in chat.delivered)


@pytest.mark.parametrize(
    "outside",
    [
        said("What was it called?", place="external", number=2),
        said("What was it called?", place="external", who="external", number=2, user="U2"),
        said("What was it called?", who="guest", number=2, user="U2"),
        said("What was it called?", place="dm", who="guest", number=2, user="U2"),
    ],
    ids=["made shared later", "of another company", "a guest in the channel", "a guest's DM"],
)
async def test_outside_there_are_no_tools_and_no_memory_of_before(
    tmp_path: Path, outside: Message
) -> None:
    """Row H4; a guest in a public channel reads what stands there, and so does the model."""
    chat, backend = Chat(name="slack"), model(final("Noted."), final("I don't know."))
    async with running(tmp_path, chat, backend, **OPEN) as bot:
        await ask(bot, chat, said(f"Remember: {SECRET}"))
        await ask(bot, chat, outside)

    told = "\n".join(each.text for each in backend.requests[-1].messages)
    can_read_it = outside.conversation.place == "public"
    assert (SECRET in told) is can_read_it
    assert "delete_page" not in told
    assert "calculate" not in told


async def test_who_left_a_channel_hears_nothing_of_it_elsewhere(tmp_path: Path) -> None:
    """Row H5: nothing said there is known in their direct messages, the only way left to them."""
    chat, backend = Chat(name="slack"), model(final("Noted."), final("I don't know."))
    async with running(tmp_path, chat, backend, **OPEN) as bot:
        await ask(bot, chat, said(f"Remember: {SECRET}", place="private"))
        await ask(bot, chat, said("What was it called?", place="dm", number=2))

    assert SECRET not in "\n".join(each.text for each in backend.requests[-1].messages)


async def test_a_workspace_that_removed_the_app_is_gone_to_the_last_key_within_a_day(
    tmp_path: Path,
) -> None:
    """Row H7: half a day for who removed it by mistake, then everything; others keep theirs."""
    chat, now = Chat(name="slack"), [1_000_000.0]
    async with running(tmp_path, chat, model(final("Noted."), final("Noted.")), **OPEN) as bot:
        stores = bot.stores
        purge = TenantPurge(stores.redis, stores.batcher, stores.keys)
        leaving = Leaving(
            stores.leaving,
            stores.ledger,
            stores.changes,
            purge,
            has_left=lambda adapter, tenant: tenant == TENANT,
            clock=lambda: now[0],
        )
        other = ConversationKey(tenant_of("slack", "T2"), "public", "C1")
        await stores.facts.add(other.tenant, "U1", Fact("likes tea", Label(), 1.0, str(other)))
        await stores.ledger.serve_tenant("slack", other.tenant)
        kept = (await purge.count(other.tenant)).total()
        await ask(bot, chat, said(SECRET))
        await asyncio.sleep(0.2)  # until its turn is closed
        before = (await purge.count(TENANT)).total()
        for hours in (0, 11):
            now[0] = 1_000_000.0 + hours * 3600
            await leaving.look(["slack"])
        assert (await purge.count(TENANT)).total() >= before > 5
        now[0] = 1_000_000.0 + PURGE_AFTER_S + 1
        await leaving.look(["slack"])

        assert (await purge.count(TENANT)).total() == 0
        assert (await purge.count(other.tenant)).total() == kept > 1


async def test_a_workspace_that_came_back_loses_nothing(tmp_path: Path) -> None:
    chat, now = Chat(name="slack"), [0.5]
    async with running(tmp_path, chat, model(final("Noted.")), **OPEN) as bot:
        stores = bot.stores
        leaving = Leaving(
            stores.leaving,
            stores.ledger,
            stores.changes,
            TenantPurge(stores.redis, stores.batcher, stores.keys),
            has_left=lambda adapter, tenant: False,
            clock=lambda: now[0],
        )
        await stores.leaving.note(TENANT, 0.5)
        await ask(bot, chat, said("We are back"))  # said at 1.0
        now[0] = PURGE_AFTER_S + 10
        await leaving.look(["slack"])

        assert await stores.memory.size(said("").conversation) > 0
        assert await stores.leaving.before(now[0]) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "bot.example.org"])
def test_the_page_binds_nowhere_but_to_this_machine(host: str) -> None:
    """Row K5: it has no login yet, so no setting opens it."""
    with pytest.raises(SettingsError, match=r"web\.host"):
        load_settings(environ={}, overrides={"web.host": host})
