"""Which conversation a Discord message belongs to: DM, thread, or chain of replies."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from adapters.chat.discord_posts import begins_post, is_post, quote_of, title_of
from adapters.chat.types import ChannelRules, Quote, usual
from tools.identity import ConversationKey, PlaceKind, tenant_of

if TYPE_CHECKING:
    import discord

REMEMBERED = 10_000
STEPS_BACK = 20

V = TypeVar("V")
Addressing = Literal["mention", "dm", "followup", "overheard"]


class Lookup(Protocol):
    """Reads one message from the platform; None when it is gone or may not be read."""

    async def __call__(self, channel_id: int, message_id: int) -> discord.Message | None: ...


def is_thread(channel: Any) -> bool:
    kind = getattr(channel, "type", None)
    return kind is not None and kind.name.endswith("_thread")


def lane_of(channel: Any) -> int:
    """A thread's messages keep their order with those of its channel: both move one mark."""
    return int(channel.parent_id if is_thread(channel) else channel.id)


def place_of(channel: Any, guild: discord.Guild | None) -> PlaceKind:
    """Public only when it is certain that @everyone may read the channel."""
    if guild is None:
        return "dm"
    if is_thread(channel):
        if channel.type.name == "private_thread":
            return "private"
        channel = channel.parent
    everyone = guild.get_role(guild.id)
    if everyone is None or not hasattr(channel, "overwrites_for"):
        return "private"
    return "public" if channel.permissions_for(everyone).view_channel else "private"


def key_of(channel: Any, guild: discord.Guild | None, chain: str | None) -> ConversationKey:
    """The conversation at `channel`; `chain` is the root message in a plain guild channel."""
    place = place_of(channel, guild)
    if guild is None:
        return ConversationKey(tenant_of("discord", "dm"), place, str(channel.id))
    tenant = tenant_of("discord", str(guild.id))
    if is_thread(channel):
        return ConversationKey(tenant, place, str(channel.parent_id), str(channel.id))
    return ConversationKey(tenant, place, str(channel.id), chain)


class Chains:
    """Remembers which chain the bot's messages belong to, and the threads it takes part in.

    Both maps are bounded; what was forgotten, or said by an earlier process, is looked up.
    """

    def __init__(self, lookup: Lookup, rules: ChannelRules = usual) -> None:
        self._lookup, self._rules = lookup, rules
        self._roots: OrderedDict[int, str] = OrderedDict()
        self._threads: OrderedDict[int, bool] = OrderedDict()

    def posted(self, message_id: str, conversation: ConversationKey) -> None:
        """The bot posted `message_id` in `conversation`."""
        if conversation.thread is not None:
            _remember(self._roots, int(message_id), conversation.thread)

    def joined(self, thread_id: int) -> None:
        _remember(self._threads, thread_id, True)

    def begins_thread(self, channel: Any, guild: discord.Guild | None) -> bool:
        """Whether what is asked here gets a thread of its own."""
        if guild is None or is_thread(channel):
            return False
        return self._rules(str(channel.id)).reply_in == "own_thread"

    async def place(
        self, message: discord.Message, bot_id: int
    ) -> tuple[ConversationKey, Addressing] | None:
        """The conversation and how the bot is addressed; None when it is not."""
        mentioned = _mentions(message, bot_id)
        if message.guild is None:
            return key_of(message.channel, None, None), "dm"
        rule = self._rules(str(lane_of(message.channel)))
        mentioned = mentioned or (rule.answer_posts and begins_post(message))
        if not mentioned and not rule.follow_ups and not rule.overhears:
            return None
        if is_thread(message.channel):
            is_heard = mentioned or (
                rule.follow_ups and await self._takes_part(message.channel, bot_id)
            )
            if not is_heard:
                return None
            self.joined(message.channel.id)
            key = key_of(message.channel, message.guild, None)
            return key, "mention" if mentioned else "followup"
        root = await self._continues(message, bot_id)
        key = key_of(message.channel, message.guild, root or str(message.id))
        if mentioned or (root is not None and rule.follow_ups):
            return key, "mention" if mentioned else "followup"
        is_said_to_all = message.reference is None and rule.overhears
        return (key, "overheard") if is_said_to_all else None

    async def quotes(self, message: discord.Message, bot_id: int) -> tuple[Quote, ...]:
        """What a question in a forum's post is about: its title, and its first message unless
        that has been a question itself."""
        if not is_post(message.channel):
            return ()
        if begins_post(message):
            return (title_of(message),)
        if not _mentions(message, bot_id):
            return ()
        first = await self._lookup(message.channel.id, message.channel.id)
        answered = self._rules(str(lane_of(message.channel))).answer_posts
        if first is None or first.author.bot or answered or _mentions(first, bot_id):
            return ()
        return (quote_of(first, title=str(getattr(message.channel, "name", ""))),)

    async def _takes_part(self, thread: Any, bot_id: int) -> bool:
        if thread.id in self._threads:
            return self._threads[thread.id]
        part = thread.owner_id == bot_id or thread.me is not None or thread.id in self._roots
        if not part:  # a thread has the id of the message it was started from
            starter = await self._lookup(thread.parent_id, thread.id)
            part = starter is not None and starter.author.id == bot_id
        _remember(self._threads, thread.id, part)
        return bool(part)

    async def _continues(self, message: discord.Message, bot_id: int) -> str | None:
        """The root of the chain that `message` continues by replying to the bot."""
        reference = message.reference
        known = None if reference is None else self._roots.get(reference.message_id or 0)
        if known is not None:
            return known
        answered = await self._answered(message)
        if answered is None or answered.author.id != bot_id:
            return None
        return await self._walk_back(answered, bot_id)

    async def _walk_back(self, at: discord.Message, bot_id: int) -> str:
        """From one of the bot's messages to the one that began the chain."""
        passed: list[int] = []
        for _ in range(STEPS_BACK):
            if at.id in self._roots:
                break
            from_bot = at.author.id == bot_id
            if from_bot:
                passed.append(at.id)
            before = await self._answered(at)
            if before is None or not (from_bot or before.author.id == bot_id):
                break  # it answers nobody, or a person's message answers another person's
            at = before
        root = self._roots.get(at.id, str(at.id))
        for message_id in passed:
            _remember(self._roots, message_id, root)
        return root

    async def _answered(self, message: discord.Message) -> discord.Message | None:
        """The message that `message` replies to."""
        reference = message.reference
        if reference is None or reference.message_id is None:
            return None
        resolved = reference.resolved
        if resolved is not None and isinstance(resolved, type(message)):
            return resolved
        return await self._lookup(message.channel.id, reference.message_id)


def _mentions(message: discord.Message, bot_id: int) -> bool:
    return any(user.id == bot_id for user in message.mentions)


def _remember(known: OrderedDict[int, V], key: int, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > REMEMBERED:
        known.popitem(last=False)
