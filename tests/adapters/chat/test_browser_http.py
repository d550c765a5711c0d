"""The page's HTTP side: who is refused, what is kept, what a restart brings back."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.chat.browser import BrowserAdapter, ShownTurn
from adapters.chat.page.guard import kept_token
from adapters.chat.types import Attachment, AttachmentError, Limits, Message, Receipt
from tests.adapters.chat.browser_bot import ANSWER, EchoBot, Memory, bot_at_work
from tests.contracts.chat import RecordingInbox, running

THREAD = "thread-0001"
POST = f"/api/threads/{THREAD}/messages"


def visitor() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), read_bufsize=2**22)


async def post(
    session: aiohttp.ClientSession, at: str, bot: EchoBot, **fields: Any
) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        extra = {"filename": "a.png", "content_type": "image/png"} if name == "files" else {}
        form.add_field(name, value, **extra)
    headers = {"X-Firstline-Token": bot.adapter.page_token}
    async with session.post(at + POST, data=form, headers=headers) as response:
        return response.status, await response.json()


async def entries(session: aiohttp.ClientSession, at: str) -> list[dict[str, Any]]:
    async with session.get(f"{at}/api/threads/{THREAD}/events") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                found: list[dict[str, Any]] = json.loads(line[6:])["entries"]
                return found
    return []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Cookie": "firstline=guessed"},
    ],
)
async def test_a_foreign_host_origin_or_cookie_is_refused(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with bot_at_work(tmp_path) as (at, _), visitor() as session:
        if "Cookie" not in headers:
            await session.get(at)
        async with session.get(f"{at}/api/threads", headers=headers) as response:
            assert response.status == 403


async def test_a_post_without_the_pages_token_is_refused(tmp_path: Path) -> None:
    async with bot_at_work(tmp_path) as (at, bot), visitor() as session:
        await session.get(at)
        async with session.post(at + POST, data={"text": "hello"}) as response:
            assert response.status == 403
        assert not bot.accepted


async def test_an_entry_key_keeps_other_users_of_the_machine_out(tmp_path: Path) -> None:
    async with bot_at_work(tmp_path, entry_key="k" * 20) as (at, bot), visitor() as session:
        async with session.get(at) as refused:
            assert refused.status == 403
            assert bot.adapter.page_token not in await refused.text()
        async with session.get(at + bot.adapter.entry_path) as response:
            assert response.status == 200
        async with session.get(at) as later:
            assert later.status == 200


def test_processes_that_begin_at_the_same_time_share_one_token(tmp_path: Path) -> None:
    starts = threading.Barrier(8)

    def begin(path: Path) -> str:
        starts.wait(10)
        return kept_token(path)

    with ThreadPoolExecutor(8) as threads:
        for number in range(50):
            path = tmp_path / str(number)
            tokens = list(threads.map(begin, [path] * 8))
            assert tokens == [tokens[0]] * 8
            assert len(tokens[0]) >= 32
            assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 50


def test_a_token_file_that_cannot_be_used_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "page-token"
    path.write_bytes(b"\xff short")

    assert len(kept_token(path)) >= 32
    assert kept_token(path) == kept_token(path)


async def test_nothing_foreign_may_load_or_frame_the_page(tmp_path: Path) -> None:
    async with (
        bot_at_work(tmp_path) as (at, _),
        visitor() as session,
        session.get(at) as response,
    ):
        policy = response.headers["Content-Security-Policy"]
        page = await response.text()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in page
    assert "https://" not in page


async def test_a_message_sent_twice_is_accepted_once(tmp_path: Path) -> None:
    async with bot_at_work(tmp_path) as (at, bot), visitor() as session:
        await session.get(at)
        first = await post(session, at, bot, text="hello", event_id="event-0001")
        again = await post(session, at, bot, text="hello", event_id="event-0001")

        assert (first, again) == ((200, {"accepted": True}), (200, {"accepted": False}))
        assert [message.event_id for message in bot.accepted] == [f"{THREAD}:event-0001"]
        said = [entry for entry in await entries(session, at) if entry["kind"] == "user"]
        assert len(said) == 1


@pytest.mark.parametrize(
    ("answer", "status", "told"), [(Receipt.DENIED, 403, "from you"), (Receipt.FULL, 429, "later")]
)
async def test_a_message_that_is_not_taken_says_why_and_keeps_no_file(
    tmp_path: Path, answer: Receipt, status: int, told: str
) -> None:
    async with bot_at_work(tmp_path) as (at, bot), visitor() as session:
        await session.get(at)
        bot.answers = answer
        got, body = await post(session, at, bot, text="see", files=b"x")

        assert (got, told in body["error"]) == (status, True)
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["page-token"]


async def test_an_empty_message_and_a_large_file_get_one_sentence_each(tmp_path: Path) -> None:
    limits = Limits(part_chars=1000, edits_per_window=1, window_s=1, max_attachment_bytes=1000)
    async with bot_at_work(tmp_path, limits=limits) as (at, bot), visitor() as session:
        await session.get(at)

        assert (await post(session, at, bot, text=" "))[0] == 400
        status, body = await post(session, at, bot, text="see", files=b"x" * 1001)
        assert (status, "limit" in body["error"]) == (413, True)
        status, body = await post(session, at, bot, text="see", files=io.BytesIO(b"x" * 3_000_000))
        assert status == 413
        assert not bot.accepted
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["page-token"]


async def test_an_upload_waits_on_disk_privately_and_goes_after_a_day(tmp_path: Path) -> None:
    now = 2e9
    async with bot_at_work(tmp_path) as (at, bot), visitor() as session:
        await session.get(at)
        await post(session, at, bot, text="see", files=b"\x89PNG\r\n\x1a\n....")
        (file,) = bot.accepted[0].attachments
        async with session.get(f"{at}/api/uploads/{file.locator}") as response:
            assert response.content_type == "image/png"
    path = tmp_path / "uploads" / file.locator
    assert path.stat().st_mode & 0o777 == 0o600

    restarted = BrowserAdapter(upload_dir=tmp_path / "uploads", now=lambda: now)
    assert await restarted.fetch(file, max_bytes=100) == b"\x89PNG\r\n\x1a\n...."
    await restarted.uploads.sweep(now)
    with pytest.raises(AttachmentError, match="again"):
        await restarted.fetch(file, max_bytes=100)


async def test_a_file_that_is_no_image_is_never_served(tmp_path: Path) -> None:
    async with bot_at_work(tmp_path) as (at, bot), visitor() as session:
        await session.get(at)
        await post(session, at, bot, text="see", files=b"<svg onload=alert(1)>")
        (file,) = bot.accepted[0].attachments
        async with session.get(f"{at}/api/uploads/{file.locator}") as response:
            assert response.status == 404
        async with session.get(f"{at}/api/uploads/page-token") as response:
            assert response.status == 404


async def test_a_locator_out_of_the_upload_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    adapter = BrowserAdapter(upload_dir=tmp_path / "uploads")
    with pytest.raises(AttachmentError):
        await adapter.fetch(Attachment("x", "x", "image/png", 6, "../secret"), max_bytes=100)


async def test_threads_and_transcript_outlive_a_restart(tmp_path: Path) -> None:
    memory = Memory()
    async with bot_at_work(tmp_path, memory=memory) as (at, bot), visitor() as session:
        await session.get(at)
        await post(session, at, bot, text="What is 17*23, " + "please " * 20)
    async with bot_at_work(tmp_path, memory=memory) as (at, _), visitor() as session:
        await session.get(at)
        async with session.get(f"{at}/api/threads") as response:
            (listed,) = (await response.json())["threads"]
        shown = await entries(session, at)

    assert listed["title"].startswith("What is 17*23, please")
    assert len(listed["title"]) <= 60
    assert [entry["kind"] for entry in shown] == ["user", "assistant"]
    assert shown[1]["parts"] == [ANSWER]
    assert shown[1]["activities"][0]["name"] == "calculate"


async def test_a_reply_delivered_again_after_a_restart_is_shown_once(tmp_path: Path) -> None:
    memory, inbox = Memory(), RecordingInbox()
    adapter = BrowserAdapter(upload_dir=tmp_path)
    async with running(adapter, inbox):
        await adapter.say(THREAD, "event-0001", "hello", ())
        message = await inbox.next()
    memory.turns[THREAD] = [
        ShownTurn("user", "hello", message.sent_at),
        ShownTurn("assistant", "Good day.", message.sent_at + 1),
    ]

    restarted = BrowserAdapter(upload_dir=tmp_path, history=memory.history)
    reply = restarted.reply(message)
    await reply.deliver(0, "Good day.", token="t0")
    await reply.aclose()

    shown = restarted.thread(THREAD).entries
    assert [(entry.kind, entry.parts) for entry in shown] == [
        ("user", ["hello"]),
        ("assistant", ["Good day."]),
    ]


async def test_a_turn_that_the_restart_cut_goes_on_under_its_question(tmp_path: Path) -> None:
    inbox = RecordingInbox()
    adapter = BrowserAdapter(upload_dir=tmp_path)
    async with running(adapter, inbox):
        await adapter.say(THREAD, "event-0001", "hello", ())
        message: Message = await inbox.next()
        placeholder = await adapter.reply(message).open(None)

    restarted = BrowserAdapter(upload_dir=tmp_path)
    reply = restarted.reply(message)
    await reply.open(placeholder)

    shown = restarted.thread(THREAD).entries
    assert [(entry.kind, entry.state) for entry in shown] == [
        ("user", "done"),
        ("assistant", "working"),
    ]
