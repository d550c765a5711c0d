"""Reading a streamed chat completion: bytes to text, its end, and a watch over silence."""

from __future__ import annotations

import asyncio
import math

import aiohttp
import msgspec

from adapters.models.openai_wire import FINISH_REASONS, Choice, chunk_decoder
from adapters.models.sse import EventReader, EventTooLong
from agents.errors import BackendError
from agents.ports import Finish, Usage

# A token of any known vocabulary is far shorter; this only stops a server gone mad.
_MAX_BYTES_PER_TOKEN = 256
_UNREADABLE = (EventTooLong, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class AnswerReader:
    """Collects one answer. Text that was cut never becomes a `Finish`."""

    __slots__ = ("_backend", "_bytes_left", "_events", "_reason", "_usage", "ended", "life")

    def __init__(self, backend: str, *, max_tokens: int) -> None:
        self._backend = backend
        self._bytes_left = max_tokens * _MAX_BYTES_PER_TOKEN
        self._events = EventReader()
        self._reason = ""
        self._usage = Usage()
        self.ended = False  # nothing more is to be read
        self.life = 0  # chunks that carried something, comments and empty ones not counted

    @property
    def is_whole(self) -> bool:
        return bool(self._reason)

    def read(self, data: bytes) -> str:
        """The text in `data`; empty bytes are the end of the stream. Raises `BackendError`."""
        try:
            events = self._events.feed(data) if data else self._events.flush()
            texts = [self._event(event) for event in events if not self.ended]
        except _UNREADABLE as error:
            if data:
                raise self._error("sent what is not a stream of completion chunks") from error
            texts = []  # the last event was cut; `finish` knows if that matters
        if not data:
            self.ended = True
        text = "".join(texts)
        self._bytes_left -= len(text)
        if self._bytes_left < 0:
            raise self._error("sent far more text than max_tokens allows")
        return text

    def finish(self) -> Finish:
        """The end of a whole answer. Raises `BackendError` for a cut one."""
        if not self._reason:
            raise self._error("the stream ended before the answer was whole")
        reason = FINISH_REASONS.get(self._reason)
        if reason is None:
            known = self._reason == "content_filter"
            why = "the service's content filter" if known else "the server, for its own reason"
            raise self._error(f"the answer was ended by {why}")
        return Finish(reason, self._usage)

    def _event(self, event: bytes) -> str:
        if event == b"[DONE]":
            self.ended = True
            if self.life:  # an explicit end after some text, without its reason
                self._reason = self._reason or "stop"
            return ""
        chunk = chunk_decoder.decode(event)
        if chunk.error:
            raise self._error("the server reported an error in mid-stream; see its log")
        if chunk.usage is not None:
            counts = (chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
            details = chunk.usage.prompt_tokens_details
            self._usage = Usage(*counts, (details.cached_tokens or 0) if details else 0)
            self.life += 1
        return self._choice(chunk.choices[0]) if chunk.choices else ""

    def _choice(self, choice: Choice) -> str:
        if choice.finish_reason:
            self._reason = choice.finish_reason
            self.life += 1
        said = choice.delta or choice.message
        if said is None:
            return ""
        if said.content or said.reasoning_content or said.reasoning:
            self.life += 1
        return said.content or ""

    def _error(self, detail: str) -> BackendError:
        return BackendError(self._backend, detail, retryable=True)


class Watch:
    """Closes a response that stays silent past its deadline; one timer for many reads."""

    __slots__ = ("_deadline", "_loop", "_response", "_timer", "fired")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, response: aiohttp.ClientResponse, deadline: float
    ) -> None:
        self._loop, self._response, self._deadline = loop, response, deadline
        self._timer: asyncio.TimerHandle | None = loop.call_at(deadline, self._look)
        self.fired = False

    def arm(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)
        elif deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look)

    def pause(self) -> None:
        """While the reader of the text is busy, the server's silence does not count."""
        self._deadline = math.inf

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._deadline <= self._loop.time():
            self.fired = True
            self._response.close()
        elif self._deadline != math.inf:
            self._timer = self._loop.call_at(self._deadline, self._look)
