"""The table of commands: one entry serves slash commands and text alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from adapters.stores.ledger import Ledger
from agents.ports import Role
from agents.routing import Router
from tools.identity import ConversationKey

_SWITCHED: tuple[Role, ...] = ("planner", "vision")
_DEFAULTS = frozenset({"default", "auto", "reset"})


@dataclass(frozen=True, slots=True)
class CommandEntry:
    help: str
    run: Callable[[ConversationKey, str], Awaitable[str]]


class Commands:
    """Runs commands of admitted people; every answer is one short text for its author."""

    def __init__(self, router: Router, ledger: Ledger) -> None:
        self._router, self._ledger = router, ledger
        self.table: Mapping[str, CommandEntry] = {
            "help": CommandEntry("show this list", self._help),
            "model": CommandEntry("show the models, or switch: `model NAME`", self._model),
            "reset": CommandEntry("forget this conversation", self._reset),
        }

    def parse(self, text: str) -> tuple[str, str] | None:
        """(name, argument) when the text is a command such as `!model phi`.

        An unknown word after the mark is a command only when it stands alone, so that
        "/usr/bin is full" stays a message.
        """
        if text[:1] not in ("!", "/") or len(text) > 200:
            return None
        name, _, argument = text[1:].strip().partition(" ")
        name = name.casefold()
        if name in self.table:
            return name, argument.strip()
        return (name, "") if name.isalpha() and not argument else None

    async def run(self, key: ConversationKey, name: str, argument: str) -> str:
        entry = self.table.get(name.casefold())
        if entry is None:
            known = ", ".join(sorted(self.table))
            return f"I don't know that command. I know: {known}."
        return await entry.run(key, argument)

    async def _help(self, key: ConversationKey, argument: str) -> str:
        rows = [f"- `{name}`: {entry.help}" for name, entry in sorted(self.table.items())]
        return "Commands, as `/name` or `!name`:\n" + "\n".join(rows)

    async def _model(self, key: ConversationKey, argument: str) -> str:
        if not argument:
            return await self._models(key)
        wanted = argument.split()[-1]
        if wanted.casefold() in _DEFAULTS:
            for role in _SWITCHED:
                await self._ledger.pin(key, role, None)
            return "Back to the configured order of models."
        for role in _SWITCHED:
            if wanted in {route.name for route in self._router.routes(role)}:
                await self._ledger.pin(key, role, wanted)
                return f"{_where(key)} now uses `{wanted}` as {role}."
        return f"There is no such model here.\n{await self._models(key)}"

    async def _models(self, key: ConversationKey) -> str:
        pins = await self._ledger.pins(key)
        lines = []
        for role in _SWITCHED:
            names = [route.name for route in self._router.routes(role)]
            first = pins.get(role) if pins.get(role) in names else None
            shown = [f"**{name}**" if name == (first or names[0]) else name for name in names]
            how = "pinned here" if first else "in this order"
            lines.append(f"- {role}: {', '.join(shown) or 'none'} ({how})")
        return "\n".join(lines) + "\nSwitch with `/model NAME`, back with `/model default`."

    async def _reset(self, key: ConversationKey, argument: str) -> str:
        await self._ledger.reset(key)
        return "Forgotten. The next message starts a new conversation."


def _where(key: ConversationKey) -> str:
    """A slash command may carry no thread: then it speaks for the whole channel."""
    return "This channel" if key.thread is None and key.place != "dm" else "This conversation"
