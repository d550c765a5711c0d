"""Who people are and what channels are, asked of Slack and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import structlog

from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_blocks import STOP, button_values
from adapters.chat.slack_text import mentions
from adapters.chat.types import place_kind
from tools.identity import PlaceKind, PrincipalKind

log = structlog.get_logger(__name__)

KNOWN_FOR_S = 600.0
ABSENT_FOR_S = 30.0  # another process may have been mentioned in the thread since
THREAD_LOOK = 200  # messages of a thread searched for the bot's part in it
_LOCALES = 20_000
_LOOK_TIMEOUT_S = 2.0  # the ack is due within 3 s
_PERMANENT = frozenset(
    {
        "channel_not_found",
        "missing_scope",
        "thread_not_found",
        "user_not_found",
        "user_not_visible",
    }
)

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A bounded cache with an age limit; one question is asked once at a time."""

    def __init__(
        self, *, size: int, clock: Callable[[], float], falsy_ttl_s: float = KNOWN_FOR_S
    ) -> None:
        self._size, self._clock, self._falsy_ttl_s = size, clock, falsy_ttl_s
        self._values: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Value]] = {}

    def put(self, key: str, value: Value) -> None:
        ttl_s = KNOWN_FOR_S if value else self._falsy_ttl_s
        self._values[key] = (self._clock() + ttl_s, value)
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    async def get(self, key: str, ask: Callable[[], Awaitable[Value]]) -> Value:
        until, value = self._values.get(key, (0.0, None))
        if value is not None and until > self._clock():
            return value
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, ask), name="slack ask")
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: str, task: asyncio.Task[Value]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # looked at, for the case that nobody waits any more

    async def _ask(self, key: str, ask: Callable[[], Awaitable[Value]]) -> Value:
        value = await ask()
        until, _ = self._values.get(key, (0.0, None))
        if until <= self._clock():  # else it was put while we asked, and is newer
            self.put(key, value)
        return value


class Directory:
    """Facts about users, channels and threads of one workspace.

    Raises `SlackCallError` when Slack can't say now. What it will never say counts as
    external, the class with the fewest rights.
    """

    def __init__(
        self,
        api: SlackApi,
        *,
        team_id: str,
        bot_user_id: str,
        enterprise_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._team_id, self._bot = api, team_id, bot_user_id
        self._enterprise_id = enterprise_id  # of an installation in a whole organisation
        self._users = Kept[PrincipalKind](size=20_000, clock=clock)
        self._locales = OrderedDict[str, str]()
        self._places = Kept[PlaceKind](size=5_000, clock=clock)
        self._joined = Kept[bool](size=20_000, clock=clock, falsy_ttl_s=ABSENT_FOR_S)

    async def user_kind(self, user_id: str) -> PrincipalKind:
        return await self._users.get(user_id, lambda: self._ask_user(user_id))

    def locale(self, user_id: str) -> str:
        """The language of a person's Slack, known with their kind; else nothing."""
        return self._locales.get(user_id, "")

    async def place(self, channel: str) -> PlaceKind:
        return await self._places.get(channel, lambda: self._ask_channel(channel))

    async def takes_part(self, channel: str, thread: str, *, before: str) -> bool:
        """Has the bot spoken, or been spoken to, in this thread?"""
        return await self._joined.get(
            f"{channel}:{thread}", lambda: self._ask_thread(channel, thread, before)
        )

    def joined(self, channel: str, thread: str) -> None:
        self._joined.put(f"{channel}:{thread}", True)

    async def running(self, channel: str, thread: str) -> list[str]:
        """The event ids of the questions whose replies in this thread can be stopped."""
        answer = await self._look(
            "conversations.replies", channel=channel, ts=thread, limit=THREAD_LOOK
        )
        return [
            event_id
            for message in answer.get("messages", ())
            if message.get("user") == self._bot
            for event_id in button_values(message, STOP)
        ]

    async def _ask_user(self, user_id: str) -> PrincipalKind:
        user = (await self._look("users.info", user=user_id, include_locale=True)).get("user")
        if not user:
            return "external"
        self._locales[user_id] = str(user.get("locale") or "")
        if len(self._locales) > _LOCALES:
            self._locales.popitem(last=False)
        if user.get("is_bot"):
            return "bot"
        if user.get("is_stranger") or not self._is_colleague(user):
            return "external"
        guest = user.get("is_restricted") or user.get("is_ultra_restricted")
        return "guest" if guest else "member"

    def _is_colleague(self, user: Mapping[str, Any]) -> bool:
        """Of the workspace, or of the organisation the app was installed in as a whole."""
        if user.get("team_id") == self._team_id:
            return True
        of = str((user.get("enterprise_user") or {}).get("enterprise_id") or "")
        return bool(of) and of == self._enterprise_id

    async def _ask_channel(self, channel: str) -> PlaceKind:
        found = (await self._look("conversations.info", channel=channel)).get("channel")
        if not found:
            return "external"
        return place_kind(
            bool(found.get("is_im")),
            bool(found.get("is_private") or found.get("is_mpim")),
            bool(found.get("is_ext_shared") or found.get("is_pending_ext_shared")),
        )

    async def _ask_thread(self, channel: str, thread: str, before: str) -> bool:
        answer = await self._look(
            "conversations.replies", channel=channel, ts=thread, limit=THREAD_LOOK
        )
        return any(
            message.get("user") == self._bot or mentions(str(message.get("text", "")), self._bot)
            for message in answer.get("messages", ())
            if str(message.get("ts", "")) < before
        )

    async def _look(self, method: str, **args: Any) -> dict[str, Any]:
        try:
            return dict(await self._api.call(method, timeout_s=_LOOK_TIMEOUT_S, **args))
        except SlackCallError as error:
            if error.error not in _PERMANENT:
                raise
            log.warning("slack.unknown", method=method, error=error.error)
            return {}
