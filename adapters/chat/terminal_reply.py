"""One reply in the terminal: it grows where it stands, and its files are saved."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePath

from adapters.chat.safe_text import visible
from adapters.chat.terminal_screen import Screen
from adapters.chat.types import (
    NO_OFFERS,
    Activity,
    DeliveryError,
    Draft,
    MayShow,
    Message,
    NotOurs,
    Offers,
    ReplyFile,
)


class TerminalReply:
    """Prints what is new of each draft; the delivered text adds exactly what is missing."""

    def __init__(
        self,
        screen: Screen,
        message: Message,
        end: asyncio.Future[str],
        *,
        adapter: str,
        may_show: MayShow,
        folder: Path,
    ) -> None:
        self._screen, self._message, self._end = screen, message, end
        self._adapter, self._may_show, self._folder = adapter, may_show, folder
        self._saved: set[int] = set()
        self._shown = ""  # of the current part, as printed
        self._steps: dict[int, Activity] = {}
        self._parts: dict[int, str] = {}
        self._status = ""

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        self._screen.status("thinking")
        return placeholder or f"{self._message.message_id}.reply"

    def show(self, draft: Draft) -> None:
        if self._parts or not self._may_show():
            return
        for index, step in enumerate(draft.activities):
            if self._steps.get(index) != step:
                self._steps[index] = step
                self._step(step)
        if draft.status and not draft.text:
            self._screen.status(visible(draft.status))
        self._grow(visible(draft.text))

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        if not self._may_show():
            raise NotOurs(self._adapter)
        if index not in self._parts:
            self._parts[index] = text
            self._grow(visible(text), final=True)
            self._screen.whole(visible(text))
            self._shown = ""
        return f"{self._message.message_id}.reply.{index}"

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        """Save the file under a name of its own; the same `token` is the same file."""
        if not self._may_show():
            raise NotOurs(self._adapter)
        if index not in self._saved:
            given = PurePath(file.name)
            path = (self._folder / f"{given.stem}-{token[:8]}{given.suffix}").absolute()
            try:
                await asyncio.to_thread(path.write_bytes, file.content)
            except OSError as error:
                detail = f"{path.name} can't be saved in {path.parent} ({error.strerror})"
                raise DeliveryError(self._adapter, detail, retryable=False) from error
            self._saved.add(index)
            self._screen.end_line()
            self._screen.note(visible(f"{file.sentence} {path}"))
        return f"{self._message.message_id}.reply.{index}"

    async def remove(self) -> None:
        self._screen.restart()

    async def aclose(self) -> None:
        self._screen.status("")
        self._screen.end_line()
        if self._parts and not self._end.done():
            self._end.set_result("".join(text for _, text in sorted(self._parts.items())))

    def _grow(self, text: str, *, final: bool = False) -> None:
        if not text and not final:
            return
        if not text.startswith(self._shown):
            self._screen.restart()
            self._shown = ""
        self._screen.write(text[len(self._shown) :])
        self._shown = text

    def _step(self, step: Activity) -> None:
        sign = {"running": "·", "done": "·", "failed": "✗"}[step.state]
        if step.state == "running":
            self._screen.status(visible(f"{step.name} {step.detail}".strip()))
            return
        self._screen.note(visible(f"{sign} {step.name} {step.detail}".rstrip()))
