"""Two screens: plain output, and an interactive prompt with the reply growing above it."""

from __future__ import annotations

import asyncio
import io
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
ANEW = "↻ the answer starts anew:"


class Screen(Protocol):
    """Where a reply is shown. Everything given is already safe to print."""

    def write(self, text: str) -> None:
        """More of the running reply."""
        ...

    def restart(self) -> None:
        """The running reply begins again from nothing."""
        ...

    def whole(self, text: str) -> None:
        """The running reply is complete: `text` is all of it, as Markdown."""
        ...

    def end_line(self) -> None:
        """Leave the running reply as it stands."""
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

    def restart(self) -> None:
        self.note(ANEW)

    def whole(self, text: str) -> None:
        self.end_line()

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

    The end of a growing reply is part of the prompt, as plain text; the whole reply is then
    printed above it once, as rendered Markdown. So notes never stand inside a reply.
    """

    _ROWS = 12  # of the growing reply

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
        self._growing += text
        self._status = ""
        self._session.app.invalidate()

    def restart(self) -> None:
        self._growing = ""
        self.note(ANEW)

    def whole(self, text: str) -> None:
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import ANSI

        self._growing = ""
        print_formatted_text(ANSI(rendered(text, width=self._width())), end="")
        self._session.app.invalidate()

    def end_line(self) -> None:
        if self._growing:
            sys.stdout.write(self._growing + "\n")
            self._growing = ""

    def note(self, text: str) -> None:
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        print_formatted_text(FormattedText([("fg:ansibrightblack", text)]))

    def status(self, text: str) -> None:
        self._status = text
        self._session.app.invalidate()

    def _prompt(self) -> StyleAndTextTuples:
        width = self._width()
        rows = last_rows(self._growing, width=width, count=self._ROWS)
        if not rows and self._status:
            return [("fg:ansibrightblack", f"… {self._status[: width - 2]}\n"), ("bold", "› ")]
        return [("", "".join(f"{row}\n" for row in rows)), ("bold", "› ")]

    def _width(self) -> int:
        return max(self._session.app.output.get_size().columns - 1, 20)

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


def rendered(text: str, *, width: int) -> str:
    """Markdown as rows of a terminal, with colours. `text` must be safe to print."""
    from rich.markdown import Markdown

    page = io.StringIO()
    console = Console(file=page, width=width, force_terminal=True, color_system="standard")
    console.print(Markdown(text, hyperlinks=False, code_theme="ansi_dark"))
    return page.getvalue()


def last_rows(text: str, *, width: int, count: int) -> list[str]:
    """The end of plain text as it wraps; looks at no more of it than may be shown."""
    rows: list[str] = []
    for line in text[-width * count :].split("\n"):
        rows += textwrap.wrap(line, width, replace_whitespace=False) or [""]
    return rows[-count:] if text else []


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
