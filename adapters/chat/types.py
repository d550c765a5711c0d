"""The chat vocabulary: what every platform adapter speaks with the bot.

AdapterError
├── AttachmentError       an attachment can't be had; the message is fit for the person
└── DeliveryError         a reply could not be delivered; `retryable` says if it may be
    ├── MessageGone       the message to edit was deleted
    └── NotOurs           the reply may be another process' by now: nothing was sent
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

import msgspec

from tools.identity import ConversationKey, PlaceKind, PrincipalKind

Addressing = Literal["mention", "dm", "followup", "command", "overheard"]


class Author(msgspec.Struct, frozen=True):
    user_id: str
    kind: PrincipalKind


class Attachment(msgspec.Struct, frozen=True):
    """A file on a message. `locator` is the adapter's own way back to the bytes."""

    attachment_id: str
    name: str  # untrusted text
    media_type: str  # as the platform claims
    size_bytes: int
    locator: str


class Quote(msgspec.Struct, frozen=True):
    """What somebody said before, put before the bot by a shortcut; always untrusted text."""

    user_id: str
    text: str
    sent_at: float


class Message(msgspec.Struct, frozen=True):
    """One thing a person said to the bot, parsed from a platform event.

    `event_id` is unique within the tenant and the same however often and by whatever way the
    platform delivers the event (Slack: channel and ts; Discord: message id).
    """

    event_id: str
    adapter: str  # name of the adapter that can answer
    conversation: ConversationKey
    author: Author
    text: str
    sent_at: float  # the platform's clock, epoch seconds
    message_id: str  # what a reply refers to
    addressing: Addressing
    attachments: tuple[Attachment, ...] = ()
    quotes: tuple[Quote, ...] = ()  # oldest first
    locale: str = ""  # as the platform tells it, "pt-BR"; empty where it does not


class Command(msgspec.Struct, frozen=True):
    """A slash command or a button's equivalent: answered at once, never planned."""

    name: str  # without the slash
    argument: str
    adapter: str
    conversation: ConversationKey
    author: Author
    locale: str = ""


PressKind = Literal["stop", "again", "up", "down", "approve", "deny", "resolve"]


class Press(msgspec.Struct, frozen=True):
    """A button under a reply: `stop` the turn that answers `event_id`, answer it `again`, say
    how good the answer was (`up`, `down`), agree to what the reply asks for, or refuse it; tell
    that a person has done (`resolve`) what the message called them for.

    `channel` is where the button was pressed, as the platform tells it; nothing in it comes
    from the button.
    """

    kind: PressKind
    event_id: str
    adapter: str
    tenant: str
    channel: str
    author: Author
    locale: str = ""


ReplyIn = Literal["thread", "channel", "own_thread"]


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """How the bot behaves in one channel, as its operator set it."""

    follow_ups: bool = True  # answers in its threads without a new mention
    reply_in: ReplyIn = "thread"
    answer_posts: bool = False  # a forum's new posts, without a mention
    overhears: bool = False  # what is asked into the room; whether to answer is decided later


ChannelRules = Callable[[str], ChannelRule]  # by the platform's channel id, as it is now


def usual(channel: str) -> ChannelRule:
    """The rules where nobody set any."""
    return ChannelRule()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message of the platform can hold, and how fast messages may follow."""

    part_chars: int
    edits_per_window: int
    window_s: float
    max_attachment_bytes: int = 20 * 1024 * 1024


class Activity(msgspec.Struct, frozen=True):
    """One visible step of a turn: a look at an image, a tool call."""

    name: str
    state: Literal["running", "done", "failed"]
    detail: str = ""  # arguments or result, for surfaces of the operator only


class Draft(msgspec.Struct, frozen=True):
    """The reply as it stands: the *whole* text so far, and what is being done."""

    text: str = ""
    activities: tuple[Activity, ...] = ()
    status: str = ""  # one short line shown while there is no text


class Offers(msgspec.Struct, frozen=True):
    """The buttons under a final part, where the platform has buttons."""

    again: bool = False  # asks for a new answer
    rating: bool = False  # tell how good it is
    press: bool = False  # agree to what it asks for, or refuse
    resolve: bool = False  # a person has done what it called them for


NO_OFFERS = Offers()


class ReplyFile(msgspec.Struct, frozen=True):
    """A part of a reply that is a file; `sentence` tells a person what it is."""

    name: str
    content: bytes
    sentence: str


MayShow = Callable[[], bool]


def always() -> bool:
    """The `may_show` of a reply that nobody can take over."""
    return True


class ReplyStream(Protocol):
    """One reply in the making. The adapter paces; callers never wait for a rate limit
    except in `open`, `deliver` and `attach`.

    Once the reply's `may_show` says no, nothing of it is sent any more: drafts are skipped,
    `open`, `deliver` and `attach` raise `NotOurs`. They may be called again when it says yes.
    """

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        """Show the first sign of life; returns the placeholder message's id.

        `placeholder` is the id from an earlier process that died: adopt it, post nothing.
        `again` without one says that such a process may have posted it and not told: look for
        it before posting.
        """
        ...

    def show(self, draft: Draft) -> None:
        """Offer a newer draft; drafts in between may be skipped. Never blocks or raises."""
        ...

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        """Put final part `index` in place; returns its message id.

        Part 0 replaces the placeholder's whole text; later parts follow it in order.
        `token` is the part's idempotency token (at most 25 characters). `tried_s_ago` is None
        when nobody can have sent the part yet, else how long ago the first try began: then
        look for the part before posting it. `offers` are the buttons under it.
        """
        ...

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        """Put final part `index`, which is a file and never the first, behind those before it;
        returns its message id. `token` and `tried_s_ago` are those of `deliver`."""
        ...

    async def remove(self) -> None:
        """Take away all that is visible of the reply: its question was deleted."""
        ...

    async def aclose(self) -> None:
        """Stop pacing and typing; posts nothing."""
        ...


class Receipt(Enum):
    """What became of a message that was offered; always true, so compare it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # known already: say nothing
    DENIED = "denied"  # the gate refused this person or place
    FULL = "full"  # too many of this conversation's messages wait


class Inbox(Protocol):
    """Where adapters put what they parsed. Both pass the one gate."""

    async def accept(self, message: Message) -> Receipt:
        """Store the message durably, then return.

        `FULL` is told by the inbox itself, except to a command, whose adapter answers at once.
        Raises `NotAccepted` when it could not be stored: do not acknowledge the event.
        """
        ...

    async def command(self, command: Command) -> str:
        """Run a command; returns the sentence for its author."""
        ...

    async def suggest(self, command: Command) -> Sequence[str]:
        """What the argument, typed so far, may become; the likeliest first, at most 25.

        Empty for who is not admitted, and while the store is away.
        """
        ...

    async def revise(self, message: Message, *, edited_at: float) -> None:
        """A person changed what they said: `message` as it reads now, under its old id.

        Raises `NotAccepted` as `accept` does, and so does `retract`.
        """
        ...

    async def retract(
        self, adapter: str, tenant: str, event_id: str, *, with_answer: bool = True
    ) -> None:
        """What a person said was deleted; without `with_answer` an answer it has stays."""
        ...

    async def press(self, press: Press) -> str:
        """A button was pressed; returns the sentence for who pressed it, often empty."""
        ...

    async def marks(self, tenant: str) -> Mapping[str, float]:
        """Until when each channel was heard: the newest `sent_at` accepted there.

        The entry "" is the newest of all. Empty when the tenant was never heard: then
        nothing said before is answered. Raises `NotAccepted` while the store is away.
        """
        ...


class ChatAdapter(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def connected(self) -> bool:
        """True while the platform's session lives; a cut socket makes it False."""
        ...

    async def run(self, inbox: Inbox) -> None:
        """Connect and feed `inbox` until cancelled; reconnects by itself.

        Raises `AdapterError` for what only an operator can mend (a wrong token).
        """
        ...

    async def answer_only(self) -> None:
        """Open what `reply`, `fetch` and `remove` need, and listen to nothing, until cancelled.

        Raises `AdapterError` like `run`.
        """
        ...

    def reply(self, message: Message, *, may_show: MayShow = always) -> ReplyStream:
        """The reply to `message`. `may_show` says whether it is still this process' to give; it
        is asked as late as possible before each request, for the process may be frozen at any
        instant and wake up when another has given the reply (row A5)."""
        ...

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        """Delete our own messages by the ids `open` and `deliver` gave; gone ones are fine.

        Raises `DeliveryError`.
        """
        ...

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """The attachment's bytes; raises `AttachmentError`."""
        ...


class AdapterError(Exception):
    """A chat platform refused; names the platform and the remedy, never a secret."""


class AttachmentError(AdapterError):
    """An attachment can't be had; the message is one sentence for its sender."""


class DeliveryError(AdapterError):
    """A reply could not be delivered."""

    def __init__(self, adapter: str, detail: str, *, retryable: bool) -> None:
        super().__init__(f"{adapter}: {detail}")
        self.retryable = retryable


class MessageGone(DeliveryError):
    """The message to edit was deleted; the place it stood in is still there."""


class NotOurs(DeliveryError):
    """The reply may be another process' by now, so nothing was sent."""

    def __init__(self, adapter: str) -> None:
        super().__init__(adapter, "another process may have this reply now", retryable=True)


class NotAccepted(Exception):
    """The event could not be stored; the platform must deliver it again."""


def place_kind(is_dm: bool, is_private: bool, is_external: bool) -> PlaceKind:
    """The place class from the three facts every platform tells; external wins."""
    if is_external:
        return "external"
    if is_dm:
        return "dm"
    return "private" if is_private else "public"
