"""The reply as the person sees it grow: one draft, offered whole each time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import msgspec

from adapters.chat.safe_text import unhidden
from adapters.chat.sentences import say
from adapters.chat.splitting import clip, split_markdown
from adapters.chat.types import Activity, Draft, ReplyFile, ReplyStream
from agents.events import CallsReturned, StepPlanned
from bot.parts import Part

_DETAIL_CHARS = 300
_WHOLE = "answer.md"


class GrowingReply:
    """Collects text and activities, and offers each new draft to the platform."""

    def __init__(
        self, stream: ReplyStream, *, long_wait_s: float = 3.0, locale: str = "en"
    ) -> None:
        self._stream, self._long_wait_s, self._locale = stream, long_wait_s, locale
        self._text = ""
        self._activities: list[Activity] = []
        self._timer: asyncio.TimerHandle | None = None
        self._position: int | None = None  # in the model's line
        self._waits_long = False
        self.has_text = False
        self.holds_text = False  # what is not checked yet is not shown

    @property
    def text(self) -> str:
        """What was said so far."""
        return self._text

    def add_text(self, delta: str) -> None:
        if self.holds_text:
            self.settled()
            return
        self._text += unhidden(delta)
        self.has_text = True
        self.settled()
        self._show()

    def waiting(self, position: int) -> None:
        """The model's line moved; a person is told of it once the wait is long."""
        if position < 0:
            was_told = self._waits_long
            self.settled()
            if was_told:
                self._show()
            return
        self._position = position
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._long_wait_s, self._tell)
        elif self._waits_long:
            self._show()

    def settled(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._position, self._waits_long = None, None, False

    def _tell(self) -> None:
        self._waits_long = True
        self._show()

    def activity(self, activity: Activity) -> None:
        """A new activity, or the end of the newest one that has its name and still runs."""
        for index in range(len(self._activities) - 1, -1, -1):
            known = self._activities[index]
            if known.name == activity.name and known.state == "running":
                self._activities[index] = activity
                break
        else:
            self._activities.append(activity)
        self._show()

    def planned(self, event: StepPlanned) -> None:
        for call in event.calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            self._activities.append(Activity(call.name, "running", arguments[:_DETAIL_CHARS]))
        self._show()

    def returned(self, event: CallsReturned) -> None:
        for result in event.results:
            ended = Activity(result.name, "done", result.text[:_DETAIL_CHARS])
            if result.is_error:
                ended = msgspec.structs.replace(ended, state="failed")
            self._finish(result.name, ended)
        self._show()

    def _finish(self, name: str, ended: Activity) -> None:
        for index, known in enumerate(self._activities):
            if known.name == name and known.state == "running":
                detail = f"{known.detail} → {ended.detail}" if known.detail else ended.detail
                self._activities[index] = Activity(name, ended.state, detail)
                return

    def _show(self) -> None:
        self._stream.show(Draft(self._text, tuple(self._activities), self._status()))

    def _status(self) -> str:
        if self.has_text:
            return ""
        if self._position is None or not self._waits_long:
            return "" if self._activities else say(self._locale, "Thinking…")
        if self._position == 0:
            return say(self._locale, "Waiting for the model: next in line…")
        return say(
            self._locale, "Waiting for the model: {number} before you…", number=self._position
        )


def final_parts(
    text: str, notes: Sequence[str], *, part_chars: int, max_parts: int, locale: str = "en"
) -> tuple[Part, ...]:
    """The whole reply with its footer, split for the platform.

    Where that makes more than `max_parts`, the last one says so and a file holds the whole.
    `part_chars` is at least 600; a footer takes at most a quarter of a part.
    """
    footer = f"\n\n_{clip(' · '.join(notes), part_chars // 4)}_" if notes else ""
    text = unhidden(text)
    parts = split_markdown(text + footer, part_chars)
    if len(parts) <= max_parts:
        return tuple(parts) or ("",)
    told = say(locale, "(This goes on: the whole answer is in the file {name}.)", name=_WHOLE)
    more = f"\n\n_{told}_"
    room = part_chars - len(more) - len(footer)
    last = split_markdown(parts[max_parts - 1], room)[0]
    whole = ReplyFile(_WHOLE, (text + footer).encode(), say(locale, "The whole answer, as a file."))
    return (*parts[: max_parts - 1], last + more + footer, whole)
