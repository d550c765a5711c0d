"""Message shortcuts: a person picks somebody's message and what the bot shall do with it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.chat.pacing import Urgency
from adapters.chat.safe_text import sound
from adapters.chat.sentences import say
from adapters.chat.shortcuts import (
    DESCRIBE_IT,
    EMPTY,
    EXCUSES,
    GONE,
    MOST_QUOTES,
    NO_IMAGE,
    NO_THREAD,
    NOT_HERE,
    SUMMARISE_IT,
    ShortcutKind,
)
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_errors import sentence_of
from adapters.chat.slack_events import EventReader
from adapters.chat.slack_heard import Heard
from adapters.chat.slack_pacing import Pools, call_when_free
from adapters.chat.slack_text import unpinged
from adapters.chat.splitting import clip


def callback_id(kind: ShortcutKind) -> str:
    return f"firstline_{kind}"


DESCRIBE, SUMMARISE = callback_id("describe"), callback_id("summarise")
ASK = callback_id("ask_about")
QUESTION, INPUT = "firstline_question", "firstline_text"
_PAGE, _PAGES = 200, 10  # a thread is told oldest first, so its newest are on the last page
_QUESTION_CHARS = 3000  # the most that Slack takes in a text field
_EXCERPT_CHARS = 300
_OPEN_WITHIN_S = 2.0  # the trigger lives for 3 s
_EVENT_TS = re.compile(r"\d{1,12}\.\d{1,9}")


class Picked(msgspec.Struct, frozen=True):
    """The message a shortcut was used on; a modal carries it to where it is sent."""

    channel: str
    ts: str
    thread: str


class Shortcuts:
    """What comes of each goes through the inbox, like any question, under an id of its own.

    Raises `NotAccepted` and `DeliveryError`: then nothing was stored.
    """

    def __init__(self, api: SlackApi, pools: Pools, reader: EventReader, heard: Heard) -> None:
        self._api, self._pools, self._reader, self._heard = api, pools, reader, heard

    async def used(self, body: Mapping[str, Any]) -> str:
        """A shortcut was used; the sentence for who used it, empty when all is well."""
        told = await self._use(body)
        return say(self._reader.locale_in(body), told) if told else ""

    async def _use(self, body: Mapping[str, Any]) -> str:
        picked, kind = _picked(body), body.get("callback_id")
        if picked is None or kind not in (DESCRIBE, SUMMARISE, ASK):
            return ""
        try:
            if not await self._is_here(picked.channel):
                return NOT_HERE
            if kind == ASK:
                await self._ask(picked, body)
                return ""
            if kind == DESCRIBE:
                return await self._describe(picked, body)
            return await self._summarise(picked, body)
        except SlackCallError as error:
            if sentence := sentence_of(error.error):
                return sentence
            raise

    async def sent(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A modal was sent; what Slack shall do with it: close it, or show what is wrong."""
        told = await self._send(body)
        return refusal(say(self._reader.locale_in(body), told)) if told else {}

    async def _send(self, body: Mapping[str, Any]) -> str:
        view = body.get("view") or {}
        if view.get("callback_id") != ASK:
            return ""
        text = sound(_typed(view)).strip()
        if not text:
            return EMPTY
        picked = msgspec.json.decode(str(view.get("private_metadata")), type=Picked)
        try:
            said = await self._said(picked)
        except SlackCallError as error:
            if sentence := sentence_of(error.error):
                return sentence
            raise
        if said is None:
            return GONE
        return await self._accept(
            picked, body, text, event=f"{view.get('id')}", files=said.get("files"), quoted=[said]
        )

    async def _describe(self, picked: Picked, body: Mapping[str, Any]) -> str:
        files = (body.get("message") or {}).get("files") or ()
        images = [each for each in files if str(each.get("mimetype", "")).startswith("image/")]
        if not images:
            return NO_IMAGE
        return await self._accept(picked, body, DESCRIBE_IT, event=_event(body), files=images)

    async def _summarise(self, picked: Picked, body: Mapping[str, Any]) -> str:
        if not (thread := await self._thread(picked)):
            return NO_THREAD
        return await self._accept(picked, body, SUMMARISE_IT, event=_event(body), quoted=thread)

    async def _ask(self, picked: Picked, body: Mapping[str, Any]) -> None:
        """Slack forgets the trigger soon, so this waits for nobody's turn."""
        view = modal(picked, str((body.get("message") or {}).get("text") or ""))
        trigger = str(body.get("trigger_id"))
        await self._api.call("views.open", timeout_s=_OPEN_WITHIN_S, trigger_id=trigger, view=view)

    async def _accept(
        self,
        picked: Picked,
        body: Mapping[str, Any],
        text: str,
        *,
        event: str,
        files: Any = (),
        quoted: Any = (),
    ) -> str:
        message = await self._reader.asked_about(
            channel=picked.channel,
            thread=picked.thread,
            user=str((body.get("user") or {}).get("id")),
            text=text,
            event_id=f"{picked.channel}:{event}",
            message_id=f"{picked.channel}:{picked.ts}",
            files=files or (),
            quoted=quoted,
        )
        return EXCUSES.get(await self._heard.accept(message), "")

    async def _is_here(self, channel: str) -> bool:
        """A shortcut can be used where the bot may not answer."""
        found = (await self._read("conversations.info", {"channel": channel})).get("channel") or {}
        return bool(found.get("is_member") or found.get("is_im") or found.get("is_mpim"))

    async def _thread(self, picked: Picked) -> list[Mapping[str, Any]]:
        """The newest of the thread, oldest first."""
        found = deque[Mapping[str, Any]](maxlen=MOST_QUOTES)
        args: dict[str, Any] = {"channel": picked.channel, "ts": picked.thread, "limit": _PAGE}
        for page in range(_PAGES):
            answer = await self._read("conversations.replies", args)
            messages = answer.get("messages") or ()
            found.extend(each for each in messages if not page or each.get("ts") != picked.thread)
            args["cursor"] = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not args["cursor"]:
                break
        return list(found)

    async def _said(self, picked: Picked) -> Mapping[str, Any] | None:
        """The picked message as it reads now."""
        args = {"channel": picked.channel, "ts": picked.thread, "limit": 2}
        args |= {"oldest": picked.ts, "latest": picked.ts, "inclusive": True}
        found = (await self._read("conversations.replies", args)).get("messages") or ()
        return next((each for each in found if each.get("ts") == picked.ts), None)

    async def _read(self, method: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        pool = self._pools.reads(method)
        return await call_when_free(self._api, method, args, pool, Urgency.FINAL)


def modal(picked: Picked, text: str) -> dict[str, Any]:
    """The view that asks for a question about `text`."""
    blocks: list[dict[str, Any]] = []
    if text.strip():
        excerpt = f"> {clip(' '.join(unpinged(text).split()), _EXCERPT_CHARS)}"
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": excerpt}})
    field = {"type": "plain_text_input", "action_id": INPUT, "multiline": True}
    field |= {"max_length": _QUESTION_CHARS, "focus_on_load": True}
    asked = {"type": "input", "block_id": QUESTION, "label": _plain("Your question")}
    return {
        "type": "modal",
        "callback_id": ASK,
        "private_metadata": msgspec.json.encode(picked).decode(),
        "title": _plain("Ask about this"),
        "submit": _plain("Ask"),
        "close": _plain("Cancel"),
        "blocks": [*blocks, asked | {"element": field}],
    }


def refusal(sentence: str) -> dict[str, Any]:
    """Keeps the modal open, with what is wrong under its field."""
    return {"response_action": "errors", "errors": {QUESTION: sentence}}


def _picked(body: Mapping[str, Any]) -> Picked | None:
    message = body.get("message") or {}
    channel = str((body.get("channel") or {}).get("id") or "")
    ts = str(message.get("ts") or body.get("message_ts") or "")
    if not channel or not _EVENT_TS.fullmatch(ts) or not (body.get("user") or {}).get("id"):
        return None
    return Picked(channel, ts, str(message.get("thread_ts") or ts))


def _event(body: Mapping[str, Any]) -> str:
    """The same for the same use, however often Slack tells it."""
    return f"{body.get('callback_id')}:{body.get('action_ts') or body.get('trigger_id')}"


def _typed(view: Mapping[str, Any]) -> str:
    values = (view.get("state") or {}).get("values") or {}
    return str(((values.get(QUESTION) or {}).get(INPUT) or {}).get("value") or "")


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}
