"""Parsers on damaged files, and a bot whose worker something took over: nothing unforeseen."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.decoding.child import documents as office
from adapters.decoding.child import pictures as decoder
from adapters.decoding.child.wire import HEAD, MAX_TEXT_CHARS, Job, Made, Refusal
from adapters.decoding.errors import FileRefused
from adapters.decoding.files import decode_file
from adapters.decoding.sandbox import Sandbox
from adapters.decoding.worker import Worker, WorkerDied
from bot.file_sentences import refusal
from tests import documents, pictures

GOOD = {
    "OFFICE": [documents.docx("A text, and more."), documents.xlsx([["a", 1], ["b", 2]])],
    "TEXT": ["Grüße\n".encode() * 9, "Grüße\n".encode("utf-16")],
    "PNG": [pictures.shapes()],
    "GIF": [pictures.animation()],
    "JPEG": [pictures.tagged_photo()],
}
READY = json.dumps({"ready": "pictures"}).encode()
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 8)), max_size=8)

decoder.warm()
office.warm()


# Pillow warns of damaged tags and reads on; what a worker writes to stderr goes nowhere.
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 1), EDITS)
def test_a_damaged_file_is_read_refused_or_one_of_the_known_errors(
    kind: str, which: int, edits: list[tuple[float, bytes, int]]
) -> None:
    data = bytearray(GOOD[kind][which % len(GOOD[kind])])
    for place, inserted, removed in edits:
        at = int(place * len(data))
        data[at : at + removed] = inserted
    module = office if kind in ("OFFICE", "TEXT") else decoder
    try:
        made = module.read(Job(kind, bytes(data), 64, 4))
    except (Refusal, *module.ERRORS):
        return
    assert isinstance(made, Made)
    assert len(made.text) <= MAX_TEXT_CHARS
    assert all(max(width, height) <= 64 for _, width, height, _ in made.pictures)


def frame(header: bytes) -> bytes:
    return HEAD.pack(len(header)) + header


async def answer_of(spoken: bytes, folder: Path) -> None:
    """What the bot makes of a worker that says this, whatever it is asked."""
    file = folder / "spoken"
    file.write_bytes(spoken)
    code = f"import sys,shutil; shutil.copyfileobj(open({str(file)!r},'rb'), sys.stdout.buffer)"
    worker = await Worker.start([sys.executable, "-I", "-S", "-c", code])
    try:
        await worker.ask(b"x", "PNG", max_side=100, frames=4)
    finally:
        await worker.end()


def told(**header: object) -> bytes:
    return frame(json.dumps(header).encode())


@pytest.mark.parametrize(
    "spoken",
    [
        b"",
        b"\xff\xff\xff\xff" + bytes(100),
        frame(b"{}x"),
        told(refused="no such reason"),
        told(text_size=-5),
        told(text_size=2**40),
        told(text_size=10) + b"short",
        told(pictures=[{"media_type": "text/html", "width": 1, "height": 1, "size": 1}]) + b"x",
        told(pictures=[{"media_type": "image/png", "width": 0, "height": 1, "size": 1}]) + b"x",
        told(pictures=[{"media_type": "image/png", "width": 1, "height": 1, "size": 1}] * 90),
    ],
)
async def test_a_worker_that_speaks_nonsense_is_a_dead_one(spoken: bytes, tmp_path: Path) -> None:
    with pytest.raises(WorkerDied):
        await answer_of(frame(READY) + spoken, tmp_path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(spoken=st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(frame)))
async def test_whatever_a_worker_says_is_an_answer_or_its_death(
    spoken: bytes, tmp_path: Path
) -> None:
    with pytest.raises((WorkerDied, FileRefused)):
        await answer_of(spoken, tmp_path)


@pytest.mark.parametrize(
    "fields", [{}, {"reason": "x", "self": 1, "name": "y", "width": "9" * 999}]
)
async def test_a_refusal_with_wrong_fields_is_still_a_sentence(
    fields: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(FileRefused) as caught:
        await answer_of(told(refused="pixels", fields=fields), tmp_path)

    sentence = refusal(caught.value, "x.png", "en")
    assert sentence.startswith("“x.png” has")
    assert len(sentence) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"not a picture at all, though long enough for a header",
        pictures.bomb(30_000, 30_000),
        b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", 8, 9),
    ],
)
async def test_a_picture_that_is_not_what_its_worker_says_goes_to_no_model(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [{"media_type": "image/png", "width": 8, "height": 8, "size": len(body)}]
    spoken = tmp_path / "spoken"
    spoken.write_bytes(frame(READY) + told(kind="PNG", pictures=shown) + body)
    taken_over = tmp_path / "python"
    taken_over.write_text(f"#!/bin/sh\ncat {spoken}\nexec cat > /dev/null\n")
    taken_over.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(taken_over))
    async with Sandbox(bwrap="/nowhere/bwrap") as sandbox:
        with pytest.raises(FileRefused, match="damaged"):
            await decode_file(pictures.shapes(), sandbox)
