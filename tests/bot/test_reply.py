"""What the person sees while a reply grows, and the parts it ends in."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from adapters.chat.types import NO_OFFERS, Activity, Draft, Offers, ReplyFile
from agents.events import CallsReturned, StepPlanned
from bot.parts import decode_part, parts_to_send
from bot.reply import GrowingReply, final_parts
from tools.contract import ToolCall, ToolResult


class Shown:
    """A reply stream that keeps what it was offered."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        return placeholder or "m1"

    def show(self, draft: Draft) -> None:
        self.drafts.append(draft)

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        return "m1"

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        return await self.deliver(index, file.content.decode(), token=token)

    async def remove(self) -> None:
        self.drafts.clear()

    async def aclose(self) -> None:
        return None


def test_each_draft_carries_the_whole_text_so_far() -> None:
    shown = Shown()
    reply = GrowingReply(shown)
    for delta in ("Good ", "day"):
        reply.add_text(delta)

    assert [draft.text for draft in shown.drafts] == ["Good ", "Good day"]


def test_a_call_is_shown_running_and_then_with_what_it_gave() -> None:
    shown = Shown()
    reply = GrowingReply(shown)
    call = ToolCall("1.1", "calculate", {"expression": "17*23"})
    reply.planned(StepPlanned(1, "", (call,), "r"))
    reply.returned(CallsReturned(1, (ToolResult("1.1", "calculate", "391"),)))

    first, last = shown.drafts[0].activities, shown.drafts[-1].activities
    assert first == (Activity("calculate", "running", '{"expression": "17*23"}'),)
    assert last == (Activity("calculate", "done", '{"expression": "17*23"} → 391'),)


async def test_a_person_is_told_of_a_long_wait_and_of_its_end() -> None:
    shown = Shown()
    reply = GrowingReply(shown, long_wait_s=0.05)
    reply.waiting(2)
    reply.waiting(1)
    assert shown.drafts == [], "a short wait is not worth a word"

    await asyncio.sleep(0.1)
    reply.waiting(0)
    reply.waiting(-1)
    reply.add_text("Hello")
    await asyncio.sleep(0.1)

    assert [draft.status or draft.text for draft in shown.drafts] == [
        "Waiting for the model: 1 before you…",
        "Waiting for the model: next in line…",
        "Thinking…",
        "Hello",
    ]


async def test_a_wait_between_two_tools_is_told_too() -> None:
    shown = Shown()
    reply = GrowingReply(shown, long_wait_s=0.01)
    reply.activity(Activity("clock", "running"))
    reply.activity(Activity("clock", "done"))
    reply.waiting(3)
    await asyncio.sleep(0.05)
    reply.waiting(-1)
    reply.activity(Activity("look", "running"))

    statuses = [draft.status for draft in shown.drafts]
    assert statuses == ["", "", "Waiting for the model: 3 before you…", "", ""]


def test_the_footer_stands_behind_the_answer() -> None:
    parts = final_parts("Answer.", ("answered by b",), part_chars=1000, max_parts=3)
    assert parts == ("Answer.\n\n_answered by b_",)


@given(st.text(max_size=4000), st.integers(600, 900), st.integers(1, 4))
def test_no_text_is_over_the_limit_and_what_is_too_many_goes_whole_into_a_file(
    text: str, part_chars: int, max_parts: int
) -> None:
    parts = final_parts(text, ("note",), part_chars=part_chars, max_parts=max_parts)
    texts = [part for part in parts if isinstance(part, str)]
    files = [part for part in parts if isinstance(part, ReplyFile)]

    assert 1 <= len(texts) <= max_parts
    assert all(len(part) <= part_chars for part in texts)
    assert list(parts) == [*texts, *files]
    if files:
        [file] = files
        assert len(texts) == max_parts
        assert file.name in texts[-1]
        assert file.content.decode() == f"{text}\n\n_note_"


files = st.builds(ReplyFile, st.text(), st.binary(), st.text())


@given(st.lists(st.text() | files))
def test_parts_come_back_from_the_outbox_as_they_were(parts: list[str | ReplyFile]) -> None:
    assert [decode_part(record) for record in parts_to_send(parts).values()] == parts


@given(st.binary() | st.binary().map(lambda rest: b"\xfe" + rest))
def test_a_damaged_part_becomes_a_text(record: bytes) -> None:
    assert isinstance(decode_part(record), str)


def test_a_file_in_the_outbox_reads_as_version_one_wrote_it() -> None:
    record = b'\xfe{"name":"answer.md","content":"SGk=","sentence":"All.","format":1}'
    file = ReplyFile("answer.md", b"Hi", "All.")
    assert decode_part(record) == file
    assert parts_to_send([file]) == {0: record}


def test_texts_are_stored_as_older_versions_stored_them() -> None:
    assert parts_to_send(["Good ", "däy"]) == {0: b"Good ", 1: "däy".encode()}
