"""What a person can do with somebody's message: the same on every platform with such a menu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.chat.sentences import mark
from adapters.chat.types import Receipt

ShortcutKind = Literal["describe", "summarise", "ask_about"]
MOST_QUOTES = 100


@dataclass(frozen=True, slots=True)
class Shortcut:
    """`name` is at most 24 characters, `description` 150 (docs.slack.dev, app manifest)."""

    kind: ShortcutKind
    name: str
    description: str


SHORTCUTS = (
    Shortcut("describe", "Describe image", "Describes the images in a message"),
    Shortcut("summarise", "Summarise thread", "Sums up the thread a message is in"),
    Shortcut("ask_about", "Ask about this", "Asks the assistant about a message"),
)

DESCRIBE_IT = "Describe this image."
SUMMARISE_IT = "Summarise this thread, in the language it is written in."
NO_IMAGE = mark("There is no image in that message.")
NO_THREAD = mark("There is nothing to read in that thread any more.")
NOT_HERE = mark("I am not in this conversation. Invite me first, then try again.")
NOT_TAKEN = mark("I can't take questions from you here.")
FULL = mark("Too many questions wait here already. Please ask this one again later.")
GONE = mark("That message is not there any more.")
EMPTY = mark("Please write a question.")
FAILED = mark("That did not work. Please try again in a minute.")
EXCUSES = {Receipt.DENIED: NOT_TAKEN, Receipt.FULL: FULL}
