"""The terminal: one conversation with the person at the keyboard, who is the operator."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from rich.console import Console

from adapters.chat.files import megabytes, read_capped, too_large
from adapters.chat.safe_text import sound, visible
from adapters.chat.terminal_reply import TerminalReply
from adapters.chat.terminal_screen import PlainScreen, PromptScreen, Screen, stdin_lines
from adapters.chat.typed_commands import parse_command
from adapters.chat.types import (
    Attachment,
    AttachmentError,
    Author,
    Command,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotAccepted,
    Receipt,
    always,
)
from tools.identity import ConversationKey, tenant_of

LineSource = Callable[[], Awaitable[str | None]]  # the next line, None at the end

_OPERATOR = Author("operator", "operator")
_REFUSED = {
    Receipt.DENIED: "Your message was refused: the operator may not talk here.",
    Receipt.FULL: "Your message was not taken: too many wait already. Please send it again later.",
}
_HELP = """\
Write a message and press Enter. Commands:
  /attach FILE   send a file with your next message
  /help          show this
  /quit          leave
Other commands go to the bot: /model shows and switches the model, /reset starts over."""


class TerminalAdapter:
    """Reads lines, prints replies as they grow.

    Without a `input` the prompt is interactive on a terminal, and plain lines otherwise.
    Plain lines are sent one at a time: the next is read when the reply to the last is whole.
    `run` returns at the end of input or on `/quit`. Files of a reply are saved in `folder`, else
    where the program was started.
    """

    def __init__(
        self,
        *,
        channel: str,
        name: str = "terminal",
        output: Console | None = None,
        input: LineSource | None = None,  # noqa: A002 - the word the caller would look for
        banner: Sequence[str] = (),
        limits: Limits | None = None,
        folder: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._banner, self._now = name, tuple(banner), now
        self._limits = limits or Limits(part_chars=1_000_000, edits_per_window=50, window_s=1.0)
        self._conversation = ConversationKey(tenant_of("terminal", "local"), "dm", channel)
        self._interactive = input is None and output is None and _on_a_terminal()
        prompt = PromptScreen() if self._interactive else None
        self._screen: Screen = prompt or PlainScreen(output or Console())
        self._read: LineSource = input or (prompt.read_line if prompt else stdin_lines())
        self._folder, self._files = folder or Path(), list[Attachment]()
        self._reading = False
        self._ends: dict[str, asyncio.Future[str]] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        return self._reading

    async def run(self, inbox: Inbox) -> None:
        self.show_banner()
        self._reading = True
        try:
            async with self._screen:
                await self._converse(inbox)
        finally:
            self._reading = False

    async def _converse(self, inbox: Inbox) -> None:
        while (line := await self._read()) is not None:
            line = sound(line)
            if line.strip() in ("/quit", "/exit"):
                return
            message = await self._take(inbox, line)
            if message is not None and not self._interactive:
                await self.finished(message)

    def show_banner(self) -> None:
        for line in self._banner:
            self._screen.note(visible(line))

    def reply(self, message: Message, *, may_show: MayShow = always) -> TerminalReply:
        end = self._end_of(message)
        return TerminalReply(
            self._screen, message, end, adapter=self._name, may_show=may_show, folder=self._folder
        )

    async def answer_only(self) -> None:
        """Replies are printed by the process that has the terminal: nothing is to be opened."""
        await asyncio.Event().wait()

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        """What was printed stays printed."""

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        path = _path_of(attachment.locator)
        return await asyncio.to_thread(read_capped, path, name=attachment.name, max_bytes=max_bytes)

    async def ask_once(self, inbox: Inbox, text: str, image: Path | None = None) -> Message:
        """Send one message; `finished` tells when the reply to it is whole.

        Raises `AttachmentError` for a bad file and `NotAccepted` when it was refused.
        """
        files = (attachment_of(image, self._limits.max_attachment_bytes),) if image else ()
        message = self._message(sound(text), files)
        self._end_of(message)
        if (receipt := await inbox.accept(message)) in _REFUSED:
            self._ends.pop(message.event_id, None)
            raise NotAccepted(_REFUSED[receipt])
        return message

    async def finished(self, message: Message) -> str:
        """Wait until the reply was delivered and closed; returns its whole text."""
        end = self._end_of(message)
        try:
            return await asyncio.shield(end)
        finally:
            if end.done():
                self._ends.pop(message.event_id, None)

    async def _take(self, inbox: Inbox, line: str) -> Message | None:
        """Run a command, or send the line; returns the message if it was accepted."""
        if not line.strip() and not self._files:
            return None
        command = parse_command(line)
        if command is not None:
            await self._command(inbox, *command)
            return None
        message = self._message(line.strip(), tuple(self._files))
        self._end_of(message)
        if await self._accepted(inbox, message):
            self._files.clear()
            return message
        self._ends.pop(message.event_id, None)
        return None

    async def _accepted(self, inbox: Inbox, message: Message) -> bool:
        try:
            receipt = await inbox.accept(message)
        except NotAccepted:
            self._screen.note("Your message could not be stored. Please send it again.")
            return False
        if receipt in _REFUSED:
            self._screen.note(_REFUSED[receipt])
        return receipt is Receipt.ACCEPTED

    async def _command(self, inbox: Inbox, name: str, argument: str) -> None:
        if name == "help":
            self._screen.note(_HELP)
        elif name == "attach":
            self._screen.note(self._attach(argument))
        else:
            command = Command(name, argument, self._name, self._conversation, _OPERATOR)
            self._screen.note(visible(await inbox.command(command)))

    def _attach(self, argument: str) -> str:
        if not argument:
            return "Which file? Write /attach FILE."
        path = Path(argument.strip("'\"")).expanduser()
        try:
            file = attachment_of(path, self._limits.max_attachment_bytes)
        except AttachmentError as error:
            return str(error)
        self._files.append(file)
        return f"{visible(file.name)} ({megabytes(file.size_bytes)}) goes with your next message."

    def _message(self, text: str, files: tuple[Attachment, ...]) -> Message:
        event_id = uuid.uuid4().hex
        return Message(
            event_id,
            self._name,
            self._conversation,
            _OPERATOR,
            text,
            self._now(),
            event_id,
            "dm",
            files,
        )

    def _end_of(self, message: Message) -> asyncio.Future[str]:
        end = self._ends.get(message.event_id)
        if end is None:
            end = self._ends[message.event_id] = asyncio.get_running_loop().create_future()
            if len(self._ends) > 1000:  # replies nobody waits for
                self._ends.pop(next(iter(self._ends)))
        return end


def attachment_of(path: Path, max_bytes: int) -> Attachment:
    """A file on this disk as an attachment; raises `AttachmentError` with the reason."""
    name = visible(path.name)
    if not path.is_file():
        raise AttachmentError(f"There is no file “{visible(str(path))}”. Check the path.")
    size = path.stat().st_size
    if size > max_bytes:
        raise AttachmentError(too_large(name, size, max_bytes))
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    locator = path.resolve().as_uri()  # a name need not be valid Unicode; its URI is
    return Attachment(uuid.uuid4().hex, sound(path.name), media_type, size, locator)


def _path_of(locator: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(locator).path)))


def _on_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
