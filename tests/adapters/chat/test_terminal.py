"""The terminal: what is typed, what is printed, and what never is."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from adapters.chat.safe_text import visible
from adapters.chat.terminal import TerminalAdapter
from adapters.chat.terminal_screen import last_rows, rendered
from adapters.chat.typed_commands import parse_command
from adapters.chat.types import Activity, AttachmentError, Draft, Limits, NotAccepted, Receipt
from tests.contracts.chat import RecordingInbox, running

BOT = [sys.executable, "-m", "tests.adapters.chat.terminal_bot"]
HOSTILE = "\x00\x1b\x07\x08\x7f\x9b\u202e\u200b\ufeff\u2066\u0301\U000e0041a👩‍🚀é\n\r\t"


class Desk:
    """An adapter with typed lines and its output."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.inbox, self.output = RecordingInbox(), io.StringIO()
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.adapter = TerminalAdapter(
            channel="c1",
            output=Console(file=self.output, width=60, force_terminal=False),
            input=self.lines.get,
            banner=["Demonstration model: \x1b[31mtiny"],
            limits=limits,
        )

    async def type(self, *lines: str | None) -> None:
        """Let the adapter work through the lines, to the end of input."""
        for line in (*lines, None):
            self.lines.put_nowait(line)
        async with asyncio.timeout(5):
            await self.adapter.run(self.inbox)

    @property
    def printed(self) -> str:
        return self.output.getvalue()


async def test_the_banner_comes_first_and_can_not_send_escapes() -> None:
    desk = Desk()
    await desk.type("/help")
    assert desk.printed.startswith("Demonstration model: ⟨U+001B⟩[31mtiny\nWrite a message")


async def test_a_growing_draft_is_appended_and_steps_stand_beside_it() -> None:
    desk = Desk()
    async with running(desk.adapter, desk.inbox):
        desk.lines.put_nowait("What is 17*23?")
        reply = desk.adapter.reply(await desk.inbox.next())
        await reply.open(None)
        start = len(desk.printed)
        steps = (Activity("calculate", "running", "17*23"),)
        reply.show(Draft("", steps))
        steps = (Activity("calculate", "done", "17*23 → 391"),)
        reply.show(Draft("It ", steps))
        reply.show(Draft("It is", steps))
        assert desk.printed[start:] == "· calculate 17*23 → 391\nIt is"
        await reply.deliver(0, "It is 391.", token="t0")
        await reply.aclose()
    assert desk.printed[start:] == "· calculate 17*23 → 391\nIt is 391.\n"


async def test_model_text_can_not_command_the_terminal() -> None:
    desk = Desk()
    async with running(desk.adapter, desk.inbox):
        desk.lines.put_nowait("hi")
        reply = desk.adapter.reply(await desk.inbox.next())
        reply.show(Draft("\x1b]0;owned\x07", (Activity("x\x1b[2J", "failed", "\x9b31m"),)))
        await reply.deliver(0, "\x1b]0;owned\x07 [bold]as is[/bold]", token="t0")
        await reply.aclose()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", desk.printed)
    assert "⟨U+001B⟩]0;owned⟨U+0007⟩ [bold]as is[/bold]\n" in desk.printed


async def test_the_next_line_waits_until_the_reply_is_whole() -> None:
    desk = Desk()
    async with running(desk.adapter, desk.inbox):
        desk.lines.put_nowait("one")
        desk.lines.put_nowait("two")
        reply = desk.adapter.reply(await desk.inbox.next())
        await asyncio.sleep(0.02)
        assert desk.inbox.is_empty
        await reply.deliver(0, "1", token="t0")
        await reply.aclose()
        assert (await desk.inbox.next()).text == "two"


async def test_commands_go_to_the_bot_and_paths_do_not() -> None:
    desk = Desk()
    desk.inbox.down = True  # so that the message below is not waited for
    await desk.type("/model phi-3.5-mini", "/etc/hosts is empty")
    assert [(one.name, one.argument) for one in desk.inbox.commands] == [("model", "phi-3.5-mini")]
    assert "model is phi-3.5-mini\n" in desk.printed
    assert parse_command("/etc/hosts is empty") is None


async def test_a_bad_attachment_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(b"x" * 101)
    desk = Desk(Limits(part_chars=1, edits_per_window=1, window_s=1, max_attachment_bytes=100))
    missing, big = tmp_path / "none.png", tmp_path / "big.png"
    await desk.type("/attach", f"/attach {missing}", f"/attach {tmp_path}", f"/attach {big}")
    assert "Which file?" in desk.printed
    assert desk.printed.count("There is no file") == 2
    assert "the limit is" in desk.printed


async def test_a_file_that_went_away_is_told_by_name(tmp_path: Path) -> None:
    desk = Desk()
    path = tmp_path / "shot.png"
    path.write_bytes(b"png")
    async with running(desk.adapter, desk.inbox):
        desk.lines.put_nowait(f'/attach "{path}"')
        desk.lines.put_nowait("see?")
        (file,) = (await desk.inbox.next()).attachments
    path.unlink()
    with pytest.raises(AttachmentError, match=r"“shot\.png” can't be read any more"):
        await desk.adapter.fetch(file, max_bytes=100)


async def test_a_pipe_is_never_opened_as_an_attachment(tmp_path: Path) -> None:
    desk = Desk()
    path = tmp_path / "shot.png"
    path.write_bytes(b"png")
    message = await desk.adapter.ask_once(desk.inbox, "see?", path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(AttachmentError, match="not a file"):
        await desk.adapter.fetch(message.attachments[0], max_bytes=100)


async def test_one_question_can_be_asked_and_waited_for() -> None:
    desk = Desk()
    message = await desk.adapter.ask_once(desk.inbox, "What is 17*23?")
    first = desk.adapter.reply(message)
    await first.aclose()  # an attempt that died: the reply is not whole
    reply = desk.adapter.reply(message)
    await reply.deliver(0, "It is ", token="t0")
    await reply.deliver(1, "391.", token="t1")
    waiting = asyncio.ensure_future(desk.adapter.finished(message))
    await asyncio.sleep(0)
    assert not waiting.done()
    await reply.aclose()
    assert await waiting == "It is 391."


@pytest.mark.parametrize(
    ("answer", "told"), [(Receipt.DENIED, "may not talk here"), (Receipt.FULL, "too many wait")]
)
async def test_a_line_that_is_not_taken_says_why(answer: Receipt, told: str) -> None:
    desk = Desk()
    desk.inbox.answer = answer
    await desk.type("hello")
    with pytest.raises(NotAccepted, match=told):
        await desk.adapter.ask_once(desk.inbox, "hello")
    assert told in desk.printed


async def test_a_question_that_is_refused_says_so() -> None:
    desk = Desk()
    desk.inbox.down = True
    with pytest.raises(NotAccepted):
        await desk.adapter.ask_once(desk.inbox, "hello")


@given(st.text() | st.text(HOSTILE), st.text() | st.text(HOSTILE))
@settings(max_examples=200, deadline=None)
def test_visible_text_grows_with_its_source_and_holds_no_hidden_character(
    one: str, other: str
) -> None:
    shown = visible(one + other)
    assert shown.startswith(visible(one))
    hidden = {char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")}
    assert hidden <= set("\n\t\u200c\u200d")


def test_emoji_and_accents_stay_and_piles_of_marks_do_not() -> None:
    assert visible("👩‍🚀 ❤️ é n̈ हिन्दी فارسی") == "👩‍🚀 ❤️ é n̈ हिन्दी فارسی"
    assert visible("a" + "\u0301" * 50) == "a" + "\u0301" * 4


def test_piped_lines_are_answered_in_order_and_the_process_ends() -> None:
    done = subprocess.run(  # noqa: S603
        BOT, input="one\ntwo\n", capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == (
        "Demonstration model\n"
        "· calculate 17*23 → 391\nYou said: one.\nThat is all.\n"
        "· calculate 17*23 → 391\nYou said: two.\nThat is all.\n"
    )


def test_lines_from_a_file_are_answered_too(tmp_path: Path) -> None:
    (tmp_path / "questions").write_text("one")
    with (tmp_path / "questions").open() as questions:
        done = subprocess.run(  # noqa: S603
            BOT, stdin=questions, capture_output=True, text=True, timeout=30, check=True
        )
    assert done.stdout.endswith("You said: one.\nThat is all.\n")


@contextmanager
def at_a_terminal() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm"}
    process = subprocess.Popen(  # noqa: S603
        BOT, stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    try:
        yield master, process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(master: int, wanted: str) -> str:
    """What the terminal got until `wanted` is in it, without escape sequences."""
    got, deadline = b"", time.monotonic() + 20
    while time.monotonic() < deadline:
        if select.select([master], [], [], 1)[0]:
            got += os.read(master, 65536)
        if b"\x1b[6n" in got:  # the prompt asks where the cursor is
            os.write(master, b"\x1b[1;1R")
            got = got.replace(b"\x1b[6n", b"")
        text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", got.decode(errors="replace"))
        text = re.sub(r"\r+\n", "\n", text)
        if wanted in text:
            return text
    raise AssertionError(f"{wanted!r} did not appear: {got!r}")


def test_the_prompt_lives_beside_a_streaming_answer() -> None:
    with at_a_terminal() as (master, process):
        assert "Demonstration model" in read_until(master, "›")
        os.write(master, b"hello\r")
        text = read_until(master, "You said: hello. That is all.")
        assert text.count("· calculate 17*23 → 391\n") == 1
        os.write(master, b"/model phi\r")
        read_until(master, "command model with phi")
        os.write(master, b"/quit\r")
        assert process.wait(timeout=20) == 0


def test_an_answer_is_rendered_once_and_a_command_does_not_print_into_it() -> None:
    with at_a_terminal() as (master, process):
        read_until(master, "›")
        os.write(master, b"markdown\r")
        read_until(master, "word word word")
        os.write(master, b"/model phi\r")
        text = read_until(master, "The end. ")
        answer = text[text.index("command model with phi") :]
        assert "• bold item" in answer
        assert "command model" not in answer[1:]
        os.write(master, b"/quit\r")
        assert process.wait(timeout=20) == 0


@given(st.text("ab \n", max_size=400), st.integers(20, 40), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_the_end_of_a_growing_reply_fits_the_prompt(text: str, width: int, count: int) -> None:
    rows = last_rows(text, width=width, count=count)

    assert len(rows) <= count
    assert all(len(row) <= width for row in rows)


def test_markdown_is_shown_as_structure_not_as_signs() -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", rendered("**a** `b` [c](https://d.example)", width=60))

    assert shown.split() == ["a", "b", "c", "(https://d.example)"]
    assert "\x1b]" not in rendered("[c](https://d.example)", width=60)
