"""What the commands do, for slash commands and text alike; `adapters.chat.commands` lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from adapters.chat.commands import BY_NAME, COMMANDS, MOST_SUGGESTIONS
from adapters.chat.sentences import mark, say
from adapters.stores.approvals import Choice
from adapters.stores.changes import Changes
from adapters.stores.ledger import Ledger
from agents.ports import Role
from agents.routing import Route, Router
from bot.admission import Asker
from bot.approvals import NOTHING_OPEN, TOLD
from bot.hand_overs import HandOvers
from bot.memory_commands import CHOICES as MEMORY_CHOICES
from bot.memory_commands import MemoryCommands
from bot.privacy import PRIVATE, LocalOnly
from bot.ratings import Ratings
from bot.reminders import Reminders
from tools.identity import ConversationKey

_SWITCHED: tuple[Role, ...] = ("planner", "vision")
STOP, AGAIN = "stop", "again"
DONE, NOTHING = "done", "nothing"  # what came of a typed one, which was done at once
AGAIN_TOLD = mark("I am answering your last question here anew.")
_MOST_CHARS = 1000
_DEFAULTS = frozenset({"default", "auto", "reset"})
Run = Callable[[ConversationKey, str, Asker], Awaitable[str]]


class Commands:
    """Runs commands of admitted people; every answer is one short text for its author."""

    def __init__(
        self,
        router: Router,
        ledger: Ledger,
        changes: Changes,
        local_only: LocalOnly,
        memory: MemoryCommands,
        ratings: Ratings,
        reminders: Reminders,
        hand_overs: HandOvers,
    ) -> None:
        self._router, self._ledger, self._local_only = router, ledger, local_only
        self._changes = changes
        self.table: Mapping[str, Run] = {
            "help": self._help,
            "model": self._model,
            "private": self._private,
            "reset": self._reset,
            "memory": memory.run,
            "remember": memory.remember,
            "feedback": ratings.tell,
            "reminders": reminders.told,
            "human": hand_overs.by_command,
            "resolved": hand_overs.resolved_here,
            STOP: self._stop,
            AGAIN: self._again,
            **{choice: partial(self._decided, choice) for choice in TOLD},
        }

    def parse(self, text: str) -> tuple[str, str] | None:
        """(name, argument) when the text is a command such as `!model phi`.

        An unknown word after the mark is a command only when it stands alone, so that
        "/usr/bin is full" stays a message.
        """
        if text[:1] not in ("!", "/") or len(text) > _MOST_CHARS:
            return None
        name, _, argument = text[1:].strip().partition(" ")
        name = name.casefold()
        if name in self.table:
            return name, argument.strip()
        return (name, "") if name.isalpha() and not argument else None

    async def run(self, key: ConversationKey, name: str, argument: str, asker: Asker) -> str:
        run = self.table.get(name.casefold())
        if run is None:
            known = ", ".join(sorted(self.table))
            return say(asker.locale, "I don't know that command. I know: {known}.", known=known)
        return await run(key, argument, asker)

    def suggest(self, name: str, typed: str) -> Sequence[str]:
        """What the argument of a command may become: what begins so, then what holds it."""
        wanted = typed.strip().casefold()
        fitting = [each for each in self._choices(name) if wanted in each.casefold()]
        fitting.sort(key=lambda each: not each.casefold().startswith(wanted))
        return tuple(fitting[:MOST_SUGGESTIONS])

    def _choices(self, name: str) -> tuple[str, ...]:
        if name == "model":
            routes = (route.name for role in _SWITCHED for route in self._router.routes(role))
            return (*dict.fromkeys(routes), "default")
        if name == "memory":
            return MEMORY_CHOICES
        spec = BY_NAME.get(name)
        return spec.argument.choices if spec and spec.argument else ()

    async def _help(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        rows = [f"- `{each.usage}`: {say(asker.locale, each.description)}" for each in COMMANDS]
        return "\n".join((say(asker.locale, "Commands, as `/name` or `!name`:"), *rows))

    async def _model(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        if not argument:
            return await self._models(key, asker)
        wanted = argument.split()[-1]
        if wanted.casefold() in _DEFAULTS:
            for role in _SWITCHED:
                await self._ledger.pin(key, role, None)
            return say(asker.locale, "Back to the configured order of models.")
        for role in _SWITCHED:
            if route := next((r for r in self._router.routes(role) if r.name == wanted), None):
                return await self._switch(key, role, route, asker)
        told = say(asker.locale, "There is no such model here.")
        return f"{told}\n{await self._models(key, asker)}"

    async def _switch(self, key: ConversationKey, role: Role, route: Route, asker: Asker) -> str:
        if reason := self._retired().get(route.name):
            told = say(
                asker.locale, "`{route}` can't be used: {why}.", route=route.name, why=reason
            )
            return f"{told}\n{await self._models(key, asker)}"
        pins = await self._ledger.pins(key)
        if route.placement != "local" and (PRIVATE in pins or self._local_only.is_ruled(key, pins)):
            told = say(asker.locale, "`{route}` is not on this machine.", route=route.name)
            return f"{told} {await self._private(key, '', asker)}"
        await self._ledger.pin(key, role, route.name)
        return say(
            asker.locale,
            "{where} now uses `{route}` as {role}.",
            where=_where(key, asker),
            route=route.name,
            role=role,
        )

    def _retired(self) -> dict[str, str]:
        health = self._router.health()
        return {each.route: each.reason for each in health if each.state == "retired"}

    async def _models(self, key: ConversationKey, asker: Asker) -> str:
        locale = asker.locale
        pins, retired = await self._ledger.pins(key), self._retired()
        lines = []
        for role in _SWITCHED:
            names = [route.name for route in self._router.routes(role)]
            first = pins.get(role) if pins.get(role) in names else None
            shown = [f"**{name}**" if name == (first or names[0]) else name for name in names]
            shown = [
                say(locale, "{route} (retired)", route=text) if name in retired else text
                for name, text in zip(names, shown, strict=True)
            ]
            how = say(locale, "pinned here") if first else say(locale, "in this order")
            lines.append(f"- {role}: {', '.join(shown) or say(locale, 'none')} ({how})")
        lines.append(say(locale, "Switch with `/model NAME`, back with `/model default`."))
        return "\n".join(lines)

    async def _private(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        wanted, locale, where = argument.casefold(), asker.locale, _where(key, asker)
        if wanted not in ("", "on", "off"):
            return say(
                locale, "Say `/private on`, `/private off`, or `/private` to see which it is."
            )
        pins = await self._ledger.pins(key)
        if self._local_only.is_ruled(key, pins):
            return say(locale, "{where} stays on this machine: its operator set that.", where=where)
        if wanted == "on":
            await self._ledger.pin(key, PRIVATE, "on")
            return say(
                locale,
                "{where} now stays on this machine: only local models read it.",
                where=where,
            )
        if PRIVATE not in pins:
            return say(
                locale,
                "{where} may use models elsewhere. `/private on` keeps it here.",
                where=where,
            )
        if wanted == "":
            return say(
                locale, "{where} stays on this machine. `/private off` ends that.", where=where
            )
        await self._ledger.pin(key, PRIVATE, None)
        if PRIVATE in await self._ledger.pins(key):
            return say(
                locale,
                "The whole channel stays on this machine; `/private off` in the channel ends it.",
            )
        return say(
            locale,
            "{where} may use models elsewhere again, and they may read what was said "
            "before; `/reset` forgets that first.",
            where=where,
        )

    async def _reset(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        await self._changes.reset(key)
        return say(asker.locale, "Forgotten. The next message starts a new conversation.")

    async def _stop(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """A slash command may carry no thread: then it speaks for the whole channel."""
        person, stopped = asker.principal.user_id, argument == DONE
        if not argument and key.thread is None:
            stopped = bool(await self._changes.stop_all(key, author=person))
        elif not argument:
            stopped = await self._changes.stop(key, author=person)
        if stopped:
            return say(asker.locale, "Stopped.")
        return say(asker.locale, "Nothing is being answered for you here.")

    async def _again(self, key: ConversationKey, argument: str, asker: Asker) -> str:
        """Done by the inbox, for it makes a turn of its own."""
        if argument == DONE:
            return say(asker.locale, AGAIN_TOLD)
        return say(asker.locale, "There is no question of yours here that I answered last.")

    async def _decided(
        self, choice: Choice, key: ConversationKey, argument: str, asker: Asker
    ) -> str:
        """Done by the inbox, like `_again`."""
        return say(asker.locale, TOLD[choice] if argument == DONE else NOTHING_OPEN)


def _where(key: ConversationKey, asker: Asker) -> str:
    """A slash command may carry no thread: then it speaks for the whole channel."""
    if key.thread is None and key.place != "dm":
        return say(asker.locale, "This channel")
    return say(asker.locale, "This conversation")
