"""Who may press in the place of who asked: people whom the operator names, and nobody else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Author, Message, Press, PressKind
from bot.approvals import NOT_YOURS
from tests.bot.approval_bot import Chat, calling, done, final, message, model
from tests.bot.test_approvals import running
from tests.bot.test_bot import until
from tools.identity import ConversationKey, PrincipalKind, tenant_of

TENANT = tenant_of("slack", "T1")
WHERE = ConversationKey(TENANT, "public", "C1", "1.0")
SLACK: dict[str, object] = {
    "slack.allow.workspaces": ["T1"],
    "slack.allow.channels": ["C1"],
    "slack.allow.users": ["*"],
    "slack.allow.guests": True,
    "slack.allow.external": True,
    "tools.grants.delete_page.approvers": ["U8", "U9"],
}
DELETE = calling(("delete_page", {"name": "holidays"}))


def asked(text: str = "Delete the page", *, user: str = "U1", number: int = 1) -> Message:
    found = message(text, number=number, adapter="slack")
    return msgspec.structs.replace(
        found, conversation=WHERE, author=Author(user, "member"), addressing="mention"
    )


def press(kind: PressKind, user: str, who: PrincipalKind = "member") -> Press:
    return Press(kind, "t1-1", "slack", TENANT, "C1", Author(user, who))


async def test_the_named_person_agrees_and_it_is_done_for_who_asked(tmp_path: Path) -> None:
    chat = Chat(name="slack")
    async with running(tmp_path, chat, model(DELETE, final("Gone.")), **SLACK) as bot:
        await bot.inbox.accept(asked())
        await until(lambda: "t1-1" in chat.delivered)
        assert "Only these people may agree to it: `U8`, `U9`" in chat.delivered["t1-1"][0]
        assert await bot.inbox.press(press("approve", "U1")) == NOT_YOURS
        assert done(tmp_path) == []

        assert await bot.inbox.press(press("approve", "U9")) == ""
        await until(lambda: chat.delivered["t1-1"][-1] == "Gone.")

    assert done(tmp_path) == ["delete holidays"]


@pytest.mark.parametrize(
    ("user", "who"), [("U2", "member"), ("U9", "guest"), ("U9", "external"), ("U9", "bot")]
)
async def test_nobody_else_may_and_nobody_from_outside(
    tmp_path: Path, user: str, who: PrincipalKind
) -> None:
    chat = Chat(name="slack")
    async with running(tmp_path, chat, model(DELETE), **SLACK) as bot:
        await bot.inbox.accept(asked())
        await until(lambda: "t1-1" in chat.delivered)
        assert await bot.inbox.press(press("approve", user, who)) != ""

    assert done(tmp_path) == []


async def test_who_asked_may_always_refuse(tmp_path: Path) -> None:
    chat = Chat(name="slack")
    async with running(tmp_path, chat, model(DELETE), **SLACK) as bot:
        await bot.inbox.accept(asked())
        await until(lambda: "t1-1" in chat.delivered)
        assert await bot.inbox.press(press("deny", "U1")) == ""
        await until(lambda: "You refused" in chat.delivered["t1-1"][-1])

    assert done(tmp_path) == []


async def test_a_platform_without_buttons_takes_the_approvers_word(tmp_path: Path) -> None:
    chat = Chat(name="slack")
    async with running(tmp_path, chat, model(DELETE, final("Gone.")), **SLACK) as bot:
        await bot.inbox.accept(asked())
        await until(lambda: "t1-1" in chat.delivered)
        await bot.inbox.accept(asked("!approve", user="U2", number=2))
        await until(lambda: "t1-2" in chat.delivered)
        assert done(tmp_path) == []
        await bot.inbox.accept(asked("!approve", user="U8", number=3))
        await until(lambda: chat.delivered["t1-1"][-1] == "Gone.")

    assert done(tmp_path) == ["delete holidays"]
