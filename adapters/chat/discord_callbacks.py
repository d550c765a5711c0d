"""What a client does with what Discord tells it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.chat.shortcuts import ShortcutKind

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_buttons import Button


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the adapter does with events; each returns at once or acknowledges in time."""

    said: Callable[[discord.Message], None]
    edited: Callable[[discord.Message], None]
    deleted: Callable[[int | None, int, Iterable[int]], None]
    cleared: Callable[[int, int, int], None]
    asked: Callable[[discord.Interaction, str], Awaitable[None]]
    commanded: Callable[[discord.Interaction, str, str], Awaitable[None]]
    suggested: Callable[[discord.Interaction, str, str], Awaitable[Sequence[str]]]
    picked: Callable[[discord.Interaction, ShortcutKind, discord.Message], Awaitable[None]]
    sent: Callable[[discord.Interaction], Awaitable[None]]
    pressed: Callable[[discord.Interaction, Button], Awaitable[None]]
    removed: Callable[[int], None]
    begins: Callable[[int], None]
    ready: Callable[[int | None], None]


async def _nothing(*_: object) -> None:
    """An event that nobody listens for."""


async def _none(*_: object) -> Sequence[str]:
    return ()


SILENT = Callbacks(
    said=lambda message: None,
    edited=lambda message: None,
    deleted=lambda guild, channel, messages: None,
    asked=_nothing,
    commanded=_nothing,
    suggested=_none,
    picked=_nothing,
    sent=_nothing,
    pressed=_nothing,
    cleared=lambda guild, lane, place: None,
    removed=lambda guild: None,
    begins=lambda shard: None,
    ready=lambda shard: None,
)
