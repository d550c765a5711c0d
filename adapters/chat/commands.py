"""The one table of commands, as data: slash commands, typed ones and manifests are made from it.

`bot/commands.py` says what each does. Names are the same on every platform.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.chat.sentences import mark


@dataclass(frozen=True, slots=True)
class Argument:
    """What follows a command's name, as one text."""

    name: str
    description: str
    required: bool = False
    choices: tuple[str, ...] = ()  # all that it can be; none: any text
    suggests: bool = False  # `Inbox.suggest` knows what it may become


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """`description` is at most 100 characters (docs.discord.com, application commands)."""

    name: str
    description: str
    argument: Argument | None = None

    @property
    def usage(self) -> str:
        """The name and what follows it: `model [ROUTE]`, `ask QUESTION`, `private [on|off]`."""
        if self.argument is None:
            return self.name
        what = "|".join(self.argument.choices) or self.argument.name.upper()
        return f"{self.name} {what}" if self.argument.required else f"{self.name} [{what}]"


ASK = CommandSpec(
    "ask",
    mark("Ask the assistant a question"),
    Argument("question", mark("Your question"), required=True),
)
COMMANDS = (
    CommandSpec("again", mark("Answer your last question here anew")),
    CommandSpec("approve", mark("Agree to what the assistant asked you for")),
    CommandSpec("deny", mark("Refuse what the assistant asked you for")),
    CommandSpec(
        "feedback",
        mark("Tell the bot's operator how well it does"),
        Argument("text", mark("What was good, what was wrong"), required=True),
    ),
    CommandSpec("help", mark("Show what the assistant can do")),
    CommandSpec(
        "human",
        mark("Ask for a person of the team"),
        Argument("why", mark("What it is about")),
    ),
    CommandSpec(
        "memory",
        mark("Show, export or forget what is remembered"),
        Argument(
            "what", mark("show, forget, export, remember TEXT, share on or off"), suggests=True
        ),
    ),
    CommandSpec(
        "model",
        mark("Show or switch the model"),
        Argument(
            "route", mark("The route to use from now on; empty shows them all"), suggests=True
        ),
    ),
    CommandSpec(
        "private",
        mark("Keep this conversation on the bot's own machine"),
        Argument("state", mark("on or off; empty tells which it is"), choices=("on", "off")),
    ),
    CommandSpec(
        "remember",
        mark("Let me remember something about you"),
        Argument("what", mark("One sentence about you"), required=True),
    ),
    CommandSpec(
        "reminders",
        mark("Show or cancel what you will be reminded of"),
        Argument("what", mark("Empty shows them; cancel 1 drops the first")),
    ),
    CommandSpec("reset", mark("Begin a new conversation")),
    CommandSpec("resolved", mark("A person is done here: let the assistant answer again")),
    CommandSpec("stop", mark("Stop the answers that are being made for you")),
)
MOST_SUGGESTIONS = 25  # what Discord shows (docs.discord.com, autocomplete)
BY_NAME = {each.name: each for each in (ASK, *COMMANDS)}
