"""The stream reader, on recorded streams cut anywhere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.models.openai_reading import AnswerReader
from adapters.models.openai_wire import estimate_tokens
from adapters.models.sse import EventReader, EventTooLong
from agents.errors import BackendError
from agents.ports import Finish, Usage

RECORDINGS = sorted((Path(__file__).parents[2] / "recordings" / "openai").glob("*.txt"))
SAID = "Guten Tag, café ☕!\n"


def read_in_pieces(recorded: bytes, cuts: list[int]) -> tuple[str, Finish]:
    reader = AnswerReader("recorded", max_tokens=64)
    edges = [0, *sorted({cut % len(recorded) for cut in cuts}), len(recorded)]
    pieces = [recorded[a:b] for a, b in pairwise(edges) if a < b]
    text = "".join(reader.read(piece) for piece in (*pieces, b"") if not reader.ended)
    return text, reader.finish()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_stream_reads_the_same_wherever_it_is_cut(path: Path, cuts: list[int]) -> None:
    text, finish = read_in_pieces(path.read_bytes(), cuts)

    counts = Usage() if path.stem == "without_usage" else Usage(9, 5)
    assert (text, finish) == (SAID, Finish("stop", counts))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_stream_reads_the_same_byte_by_byte(path: Path) -> None:
    recorded = path.read_bytes()

    assert read_in_pieces(recorded, list(range(len(recorded))))[0] == SAID


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_stream_cut_before_its_finish_reason_is_an_error(path: Path) -> None:
    recorded = path.read_bytes()

    with pytest.raises(BackendError, match="whole"):
        read_in_pieces(recorded[: recorded.index("☕".encode())].rpartition(b"\ndata")[0], [])


def read_all(reader: AnswerReader, *pieces: bytes) -> Finish:
    for piece in pieces:
        reader.read(piece)
    return reader.finish()


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_garbage_is_an_error_and_never_an_answer(garbage: bytes) -> None:
    reader = AnswerReader("garbled", max_tokens=64)

    with pytest.raises(BackendError):
        read_all(reader, b"data: " + garbage + b"\n\n", b"")


def test_nesting_without_end_is_an_error() -> None:
    with pytest.raises(BackendError):
        read_all(AnswerReader("deep", max_tokens=64), b'data: {"error":' + b"[" * 100_000 + b"\n\n")


def test_a_line_without_end_is_refused() -> None:
    reader = EventReader(max_bytes=1000)

    with pytest.raises(EventTooLong, match="1000 bytes"):
        list(map(reader.feed, [b"x" * 100] * 11))


def test_an_event_of_endless_lines_is_refused() -> None:
    reader = EventReader(max_bytes=1000)

    with pytest.raises(EventTooLong):
        reader.feed((b"data: " + b"x" * 100 + b"\n") * 11)


def test_text_far_beyond_max_tokens_is_refused() -> None:
    reader = AnswerReader("mad", max_tokens=1)
    event = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"x" * 200)
    reader.read(event)

    with pytest.raises(BackendError, match="max_tokens"):
        reader.read(event)


def test_thinking_is_a_sign_of_life_but_no_text() -> None:
    reader = AnswerReader("thinker", max_tokens=64)

    assert reader.read(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n') == ""
    assert reader.life == 1
    assert reader.read(b": still here\n\n") == ""
    assert reader.life == 1


def test_the_part_of_a_prompt_that_was_kept_is_told() -> None:
    reader = AnswerReader("kept", max_tokens=64)
    usage = b'{"prompt_tokens":90,"completion_tokens":5,"prompt_tokens_details":%s}'
    reader.read(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
    reader.read(b'data: {"choices":[],"usage":%s}\n\n' % (usage % b'{"cached_tokens":64}'))
    assert reader.finish().usage == Usage(90, 5, 64)

    reader.read(b'data: {"choices":[],"usage":%s}\n\n' % (usage % b"null"))
    assert reader.finish().usage == Usage(90, 5)


@pytest.mark.parametrize("reason", ["content_filter", "abort"])
def test_an_answer_ended_by_the_server_is_not_whole(reason: str) -> None:
    reader = AnswerReader("filtered", max_tokens=64)
    reader.read(b'data: {"choices":[{"delta":{},"finish_reason":"%s"}]}\n\n' % reason.encode())
    reader.read(b"")

    with pytest.raises(BackendError, match="ended by"):
        reader.finish()


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_estimate_grows_with_the_text(one: str, other: str) -> None:
    assert estimate_tokens(one + other) >= estimate_tokens(one)
