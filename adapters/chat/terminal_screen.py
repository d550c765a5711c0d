"""Two screens: plain output, and an interactive prompt with the reply growing above it."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import textwrap
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

_LINE_BYTES = 2**20


class Screen(Protocol):
    """Where a reply is shown. Everything given is already safe to print."""

    def write(self, text: str) -> None:
        """More of the running reply."""
        ...

    def end_line(self) -> None:
        """Finish the line the reply is in, if it is in one."""
        ...

    def note(self, text: str) -> None:
        """Whole dim lines beside the reply."""
        ...

    def status(self, text: str) -> None:
        """What is being done now; shown where it can be taken away again."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...


class PlainScreen:
    """Appends to a console: for pipes, files and one-shot questions."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_line = False

    def write(self, text: str) -> None:
        if text:
            self._console.out(text, end="", highlight=False)
            self._console.file.flush()
            self._in_line = not text.endswith("\n")

    def end_line(self) -> None:
        if self._in_line:
            self._console.out("", highlight=False)
            self._in_line = False

    def note(self, text: str) -> None:
        self.end_line()
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def status(self, text: str) -> None:
        """Nothing: a pipe can't take a line back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.end_line()


class PromptScreen:
    """A prompt that stays usable while a reply streams.

    Whole lines are printed above the prompt; the line still growing is part of the prompt,
    because a terminal can't print half a line above a live prompt.
    """

    _ROWS = 6  # of the growing line

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.patch_stdout import patch_stdout

        self._session: PromptSession[str] = PromptSession(history=InMemoryHistory())
        self._patch = patch_stdout()
        self._growing, self._status = "", ""

    async def read_line(self) -> str | None:
        try:
            return await self._session.prompt_async(self._prompt)
        except (EOFError, KeyboardInterrupt):
            return None

    def write(self, text: str) -> None:
        *lines, self._growing = (self._growing + text).split("\n")
        for line in lines:
            sys.stdout.write(line + "\n")
        self._status = ""
        self._session.app.invalidate()

    def end_line(self) -> None:
        if self._growing:
            self.write("\n")

    def note(self, text: str) -> None:
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        self.end_line()
        print_formatted_text(FormattedText([("fg:ansibrightblack", text)]))

    def status(self, text: str) -> None:
        self._status = text
        self._session.app.invalidate()

    def _prompt(self) -> StyleAndTextTuples:
        width = max(self._session.app.output.get_size().columns - 1, 20)
        rows = textwrap.wrap(self._growing, width)[-self._ROWS :]
        if not rows and self._status:
            return [("fg:ansibrightblack", f"… {self._status[: width - 2]}\n"), ("bold", "› ")]
        return [("", "".join(f"{row}\n" for row in rows)), ("bold", "› ")]

    async def __aenter__(self) -> Self:
        self._patch.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.end_line()
        self._patch.__exit__(kind, error, tb)


def stdin_lines() -> Callable[[], Awaitable[str | None]]:
    """Lines of standard input; a pipe is read without holding a worker thread."""
    reader: asyncio.StreamReader | None = None

    async def read() -> str | None:
        nonlocal reader
        if reader is None and _is_pipe():
            reader = await _connected()
        if reader is None:
            line = await asyncio.to_thread(sys.stdin.buffer.readline)
        else:
            line = await reader.readline()
        return line.decode(errors="replace").rstrip("\r\n") if line else None

    return read


def _is_pipe() -> bool:
    mode = os.fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def _connected() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader
