"""What becomes of each envelope from Slack; all that must not be lost is stored before the ack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiohttp
import structlog
from yarl import URL

from adapters.chat.sentences import mark, say
from adapters.chat.shortcuts import EXCUSES
from adapters.chat.slack_api import SlackApi
from adapters.chat.slack_events import Edited, EventReader, Removed, event_id_of
from adapters.chat.slack_heard import Heard
from adapters.chat.slack_shortcuts import Shortcuts, refusal
from adapters.chat.slack_text import escaped
from adapters.chat.types import Command, DeliveryError, Inbox, Message, NotAccepted, Press, Receipt

log = structlog.get_logger(__name__)

ACK_WITHIN_S = 2.0  # Slack waits 3 s
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_OPENED = frozenset({"app_home_opened", "assistant_thread_started"})
# True: it can't come back, so what was answered there goes too
_CLOSED = {
    "channel_deleted": True,
    "group_deleted": True,
    "channel_archive": False,
    "group_archive": False,
    "channel_left": False,
    "group_left": False,
}
_TRY_AGAIN = mark("I can't take this right now. Please try again in a minute.")

Opened = Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]


class Intake:
    """Takes every envelope; `take` returns the status and the body of its acknowledgement."""

    def __init__(
        self,
        inbox: Inbox,
        reader: EventReader,
        api: SlackApi,
        *,
        ask: str,
        heard: Heard,
        shortcuts: Shortcuts,
        opened: Sequence[Opened] = (),
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """`opened` are told, beside the ack, that a person opened the app."""
        self._inbox, self._reader, self._api, self._ask = inbox, reader, api, ask
        self._heard, self._shortcuts = heard, shortcuts
        self._opened, self._refused = opened, refused
        self._late: set[asyncio.Task[None]] = set()

    async def take(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """200 acknowledges it, 503 makes Slack send it again."""
        try:
            if "command" in body:
                return 200, await self._command(body)
            match body.get("type"):
                case "block_actions":
                    await self._pressed(body)
                case "message_action":
                    return await self._picked(body)
                case "view_submission":
                    return await self._sent(body)
            if (event := body.get("event")) and not self._is_known(event):
                await self._event(event)
        except (NotAccepted, DeliveryError) as error:
            log.warning("slack.not_accepted", reason=type(error).__name__)
            self._refused()
            return 503, {}
        return 200, {}

    def close(self) -> None:
        """Answers that are still to be given are not given."""
        for task in self._late:
            task.cancel()

    def _is_known(self, event: Mapping[str, Any]) -> bool:
        """A mention is told as a message too, and not read again."""
        event_id = event_id_of(str(event.get("channel")), str(event.get("ts")))
        return event.get("subtype") is None and self._heard.knows(event_id)

    async def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind in _OPENED:
            for opened in self._opened:
                self._beside(opened(event), name="slack opened")
            return
        if kind in _CLOSED:
            await self._closed(str(event.get("channel") or ""), with_answers=_CLOSED[kind])
            return
        for stop in await self._reader.read_native_stop(event):
            if isinstance(stop, Press):
                await self._inbox.press(stop)
            else:
                await self._inbox.command(stop)
        match await self._reader.read(event):
            case Message() as message:
                await self._heard.accept(message)
            case Edited(message, at, is_asked):
                if not is_asked or await self._heard.accept(message) is Receipt.DUPLICATE:
                    await self._inbox.revise(message, edited_at=at)
            case Removed(tenant, event_id):
                self._heard.removed(event_id)
                await self._inbox.retract(self._reader.adapter, tenant, event_id)

    async def _closed(self, channel: str, *, with_answers: bool) -> None:
        """Nobody can be answered there any more; what was answered stays readable in an archive."""
        for event_id in self._heard.events_in(channel):
            await self._inbox.retract(
                self._reader.adapter, self._reader.tenant, event_id, with_answer=with_answers
            )

    async def _command(self, body: Mapping[str, Any]) -> dict[str, Any]:
        work = asyncio.create_task(self._run(body), name="slack command")
        done, _ = await asyncio.wait((work,), timeout=ACK_WITHIN_S)
        if not done:
            self._answer_later(work, body)
            return {}
        text = work.result()
        return _ephemeral(text) if text else {}

    async def _run(self, body: Mapping[str, Any]) -> str:
        try:
            command = await self._reader.read_command(body)
            if command.name == self._ask:
                return await self._question(command, body)
            return await self._inbox.command(command)
        except (NotAccepted, DeliveryError):
            return say(self._reader.locale_in(body), _TRY_AGAIN)

    async def _question(self, command: Command, body: Mapping[str, Any]) -> str:
        if not command.argument:
            asked = mark("Ask me something: `/{name} your question`.")
            return say(command.locale, asked, name=self._ask)
        message = self._reader.question(
            command, trigger_id=str(body.get("trigger_id", "")), sent_at=time.time()
        )
        excuse = EXCUSES.get(await self._heard.accept(message), "")
        return say(command.locale, excuse) if excuse else ""

    async def _pressed(self, body: Mapping[str, Any]) -> None:
        """A press is told its answer beside the acknowledgement: Slack shows none within."""
        work = asyncio.create_task(self._press(body), name="slack press")
        self._answer_later(work, body)
        await asyncio.wait((work,), timeout=ACK_WITHIN_S)

    async def _press(self, body: Mapping[str, Any]) -> str:
        try:
            presses = await self._reader.read_presses(body)
            answers = [await self._inbox.press(press) for press in presses]
        except (NotAccepted, DeliveryError):
            return say(self._reader.locale_in(body), _TRY_AGAIN)
        return "\n".join(filter(None, answers))

    async def _picked(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Acknowledged only once its question is stored, or refused; Slack shows the rest."""
        work = asyncio.create_task(self._shortcuts.used(body), name="slack shortcut")
        self._answer_later(work, body)
        done, _ = await asyncio.wait((work,), timeout=ACK_WITHIN_S)
        return (200 if done and work.exception() is None else 503), {}

    async def _sent(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """What is not stored in time is not acknowledged: the modal stays, to be sent again."""
        try:
            async with asyncio.timeout(ACK_WITHIN_S):
                return 200, await self._shortcuts.sent(body)
        except (NotAccepted, DeliveryError):
            return 200, refusal(say(self._reader.locale_in(body), _TRY_AGAIN))
        except TimeoutError:
            return 503, {}

    def _answer_later(self, work: asyncio.Task[str], body: Mapping[str, Any]) -> None:
        self._beside(self._answer(work, body), name="slack late answer")

    def _beside(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _answer(self, work: asyncio.Task[str], body: Mapping[str, Any]) -> None:
        """Send the sentence to where Slack wants it, for its author only."""
        try:
            await asyncio.wait((work,))
        finally:
            work.cancel()
        if work.cancelled() or work.exception() is not None:
            text = say(self._reader.locale_in(body), _TRY_AGAIN)
            log.error("slack.command_failed", error=type(work.exception()).__name__)
        else:
            text = work.result()
        where = URL(str(body.get("response_url", "")), encoded=True)
        if not text or not where.is_absolute():
            return
        answer = _ephemeral(text) | {"replace_original": False}
        if thread := (body.get("container") or body.get("message") or {}).get("thread_ts"):
            answer["thread_ts"] = thread
        try:
            async with aiohttp.ClientSession(timeout=_ANSWER_TIMEOUT) as session:
                await session.post(where, json=answer, proxy=self._api.client.proxy)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("slack.command_unanswered", error=type(error).__name__)


def _ephemeral(text: str) -> dict[str, Any]:
    quiet = {"unfurl_links": False, "unfurl_media": False}
    return {"response_type": "ephemeral", "text": escaped(text), **quiet}
