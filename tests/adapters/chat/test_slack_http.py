"""Slack's way in over HTTP: what is not Slack's gets nothing, and nothing comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import psutil
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.chat.slack_http import (
    EVENTS_PATH,
    MAX_BODY_BYTES,
    EventsEndpoint,
    ProcessSignatures,
)
from adapters.chat.slack_signature import signature_of
from adapters.chat.types import NotAccepted
from bot.public_http import serve_public
from bot.testing.slack.http import signed
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_700_000_000.0
EVENT = {"type": "event_callback", "event": {"type": "app_mention"}, "team_id": "T1"}
EDIT = {"type": "event_callback", "event": {"type": "message", "subtype": "message_changed"}}
Json = dict[str, Any]


@dataclass(slots=True)
class Taken:
    """What the endpoint handed over."""

    bodies: list[Json] = field(default_factory=list)
    refusals: int = 0
    slow_s: float = 0.0
    now: float = NOW

    async def take(self, body: Json) -> tuple[int, Json]:
        await asyncio.sleep(self.slow_s)
        if self.refusals:
            self.refusals -= 1
            raise NotAccepted("the store is away")
        self.bodies.append(body)
        return 200, {"text": "done"} if "command" in body else {}

    def endpoint(self, *, app_id: str | None = None) -> EventsEndpoint:
        return EventsEndpoint(
            self.take,
            signing_secret=SECRET,
            signatures=ProcessSignatures(),
            app_id=app_id,
            clock=lambda: self.now,
        )


async def post(
    endpoint: EventsEndpoint, body: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    """One request straight into the application."""
    sent: list[Any] = []

    async def receive() -> Json:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": EVENTS_PATH, "headers": headers}
    await endpoint(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def headers_for(body: bytes, *, at: float = NOW, form: bool = False) -> list[tuple[bytes, bytes]]:
    found = signed(SECRET, body, at=at, form=form)
    return [(name.lower().encode(), value.encode()) for name, value in found.items()]


def encoded(payload: Json) -> bytes:
    return json.dumps(payload).encode()


COMMAND = urlencode({"command": "/ask", "text": "hello", "team_id": "T1"}).encode()
PRESS = urlencode({"payload": json.dumps({"type": "block_actions", "actions": []})}).encode()


async def test_a_signed_event_is_taken_and_acknowledged_with_an_empty_body() -> None:
    taken = Taken()
    body = encoded(EVENT)

    assert await post(taken.endpoint(), body, headers_for(body)) == (200, b"")
    assert taken.bodies == [EVENT]


async def test_the_address_is_verified_by_its_challenge() -> None:
    body = encoded({"type": "url_verification", "challenge": "3eZbrw1a", "token": "old"})
    status, answer = await post(Taken().endpoint(), body, headers_for(body))

    assert (status, json.loads(answer)) == (200, {"challenge": "3eZbrw1a"})


async def test_a_command_is_answered_in_the_response() -> None:
    status, answer = await post(Taken().endpoint(), COMMAND, headers_for(COMMAND, form=True))

    assert (status, json.loads(answer)) == (200, {"text": "done"})


def _without(name: bytes) -> Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]:
    return lambda headers: [each for each in headers if each[0] != name]


def _with(name: bytes, value: bytes) -> Callable[..., list[tuple[bytes, bytes]]]:
    return lambda headers: [*(each for each in headers if each[0] != name), (name, value)]


STAMP, SIGNATURE = b"x-slack-request-timestamp", b"x-slack-signature"


@pytest.mark.parametrize(
    "change",
    [
        _without(STAMP),
        _without(SIGNATURE),
        _with(STAMP, b"abc"),
        _with(STAMP, b"1" * 5000),
        _with(STAMP, b"-1700000000"),
        _with(STAMP, "１７００００００００".encode()),
        _with(STAMP, b"1700000000.0"),
        _with(STAMP, b""),
        _with(SIGNATURE, b"v0=" + b"0" * 64),
        _with(SIGNATURE, b"v0=\xff\xfe"),
        _with(SIGNATURE, b""),
        lambda headers: [*headers, (SIGNATURE, b"v0=" + b"0" * 64)],
        lambda headers: [*headers, (STAMP, b"1700000000")],
    ],
)
async def test_what_is_wrongly_signed_gets_401_and_an_empty_body(
    change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]],
) -> None:
    taken, body = Taken(), encoded(EVENT)

    assert await post(taken.endpoint(), body, change(headers_for(body))) == (401, b"")
    assert taken.bodies == []


@pytest.mark.parametrize("body", [b"\xff\xfe{}", b"[]", b"null", b"{", b"[" * 100_000, b""])
async def test_a_signed_body_that_is_none_of_slacks_gets_401(body: bytes) -> None:
    taken = Taken()

    assert await post(taken.endpoint(), body, headers_for(body)) == (401, b"")
    assert taken.bodies == []


async def test_a_signed_event_of_another_app_gets_401() -> None:
    taken, body = Taken(), encoded(EVENT | {"api_app_id": "A2"})

    assert await post(taken.endpoint(app_id="A1"), body, headers_for(body)) == (401, b"")
    assert taken.bodies == []


@pytest.mark.parametrize(("body", "form"), [(encoded(EDIT), False), (COMMAND, True), (PRESS, True)])
async def test_a_replayed_request_has_one_effect_and_none_after_five_minutes(
    body: bytes, form: bool
) -> None:
    taken = Taken()
    endpoint, headers = taken.endpoint(), headers_for(body, form=form)
    first, *_ = await post(endpoint, body, headers)
    again = [await post(endpoint, body, headers) for _ in range(20)]
    at_once = await asyncio.gather(*(post(endpoint, body, headers) for _ in range(20)))
    taken.now += 301
    late = await post(endpoint, body, headers)

    assert first == 200
    assert len(taken.bodies) == 1
    assert {status for status, _ in [*again, *at_once]} <= {200, 503}
    assert late == (401, b"")


async def test_what_could_not_be_stored_is_not_acknowledged_and_is_taken_when_it_comes_again() -> (
    None
):
    taken = Taken(refusals=1)
    endpoint = taken.endpoint()
    first = await post(endpoint, PRESS, headers_for(PRESS, form=True))
    await asyncio.sleep(0)
    second = await post(endpoint, PRESS, headers_for(PRESS, form=True))

    assert (first, second) == ((503, b""), (200, b""))
    assert len(taken.bodies) == 1


async def test_what_takes_too_long_to_store_is_not_acknowledged_within_slacks_three_seconds() -> (
    None
):
    taken, body = Taken(slow_s=10), encoded(EVENT)
    begun = time.monotonic()

    assert await post(taken.endpoint(), body, headers_for(body)) == (503, b"")
    assert time.monotonic() - begun < 2.9


async def test_a_wrong_clock_is_told_once_an_hour_and_nothing_is_accepted(
    record_figure: RecordFigure,
) -> None:
    taken, statuses = Taken(), []
    endpoint = taken.endpoint()
    with structlog.testing.capture_logs() as lines:
        for minute in range(120):
            taken.now = NOW + 60.0 * minute
            body = encoded(EVENT | {"event_id": f"Ev{minute}"})
            answer = await post(endpoint, body, headers_for(body, at=taken.now - 600))
            statuses.append(answer[0])
        alarms = [line for line in lines if line["event"] == "slack.clock_skew"]
        assert endpoint.skew_s == 600
        taken.now = NOW + 8000
        body = encoded(EVENT)
        right = await post(endpoint, body, headers_for(body, at=taken.now))

    figure = f"clock 600 s wrong for 2 h: {len(alarms)} alarms, {statuses.count(200)} accepted"
    record_figure(row="C6", promise="A wrong clock: refused, one alarm an hour", figure=figure)
    assert set(statuses) == {401}
    assert [line["skew_s"] for line in alarms] == [600, 600]  # in two hours
    assert right[0] == 200
    assert endpoint.skew_s == 0.0


async def test_who_does_not_know_the_secret_raises_no_alarm() -> None:
    taken, body = Taken(), encoded(EVENT)
    stale = _with(SIGNATURE, b"v0=" + b"1" * 64)(headers_for(body, at=NOW - 9999))
    with structlog.testing.capture_logs() as lines:
        assert await post(taken.endpoint(), body, stale) == (401, b"")

    assert lines == []


HEADER = st.tuples(
    st.sampled_from([STAMP, SIGNATURE, b"content-type", b"content-length", b"x-else"]),
    st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"1700000000", b"v0=" + b"a" * 64, b"application/json", b"9" * 30]),
        st.integers(-(10**20), 10**20).map(lambda number: str(number).encode()),
    ),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(HEADER, max_size=6), st.binary(max_size=300))
def test_whatever_headers_and_body_come_they_are_refused_with_nothing(
    headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    taken = Taken()
    status, answer = asyncio.run(post(taken.endpoint(), body, headers))

    assert status in (401, 413)
    assert answer == b""
    assert taken.bodies == []


VALUES = (
    lambda dice: b"",
    lambda dice: b"9" * dice.randrange(1, 5001),
    lambda dice: b"-%d" % NOW,
    lambda dice: dice.randbytes(dice.randrange(80)),
    lambda dice: "".join(chr(dice.randrange(1, 0x3000)) for _ in range(20)).encode(),
    lambda dice: b"v0=" + dice.randbytes(32).hex().encode(),
    lambda dice: str(int(NOW) + dice.randrange(-(10**6), 10**6)).encode(),
)


def spoilt(dice: random.Random) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A request that was Slack's, less one thing that makes it so."""
    body = [encoded(EVENT), COMMAND, PRESS][dice.randrange(3)]
    headers = headers_for(body)
    match dice.randrange(5):
        case 0:
            at = dice.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ dice.randrange(1, 256)]) + body[at + 1 :]
        case 1:
            headers.pop(1 + dice.randrange(2))
        case 2:
            name, at = dice.choice([STAMP, SIGNATURE]), dice.randrange(len(VALUES))
            value = VALUES[at](dice)
            same = dict(headers)[name] == value
            headers = _with(name, value + b"x" * same)(headers)
        case 3:
            headers.append(dice.choice(headers[1:]))
        case _:
            body = dice.randbytes(dice.randrange(400))
    dice.shuffle(headers)
    return headers, body


@pytest.mark.parametrize("count", [3_000, pytest.param(1_000_000, marks=[pytest.mark.drill])])
@pytest.mark.timeout(3600)
async def test_a_million_spoilt_requests_have_no_effect(
    count: int, record_figure: RecordFigure
) -> None:
    taken, dice, statuses, times = Taken(), random.Random(4), Counter[int](), list[float]()
    endpoint = taken.endpoint()
    with structlog.testing.capture_logs() as lines:
        for _ in range(count):
            headers, body = spoilt(dice)
            begun = time.perf_counter()
            status, answer = await post(endpoint, body, headers)
            times.append(time.perf_counter() - begun)
            statuses[status] += 1
            assert answer == b""
    p99_ms = sorted(times)[int(count * 0.99)] * 1000
    broken = sum(number for status, number in statuses.items() if status >= 500)
    figure = (
        f"{count:,} spoilt requests: {statuses[200]} accepted, {broken} of 5xx, "
        f"{len(lines)} log lines; p99 {p99_ms:.2f} ms"
    )
    record_figure(row="C4", promise="Malformed requests are refused, never raise", figure=figure)

    assert set(statuses) <= {401, 413}
    assert taken.bodies == lines == []
    assert p99_ms <= 5


@pytest.mark.parametrize("count", [50, pytest.param(1_000, marks=[pytest.mark.drill])])
async def test_requests_that_come_again_have_no_more_effects(
    count: int, record_figure: RecordFigure
) -> None:
    taken, dice, within, after = Taken(), random.Random(3), Counter[int](), Counter[int]()
    endpoint = taken.endpoint()
    for number in range(count):
        body = urlencode({"command": "/ask", "text": f"question {number}"}).encode()
        headers = headers_for(body, at=taken.now, form=True)
        await post(endpoint, body, headers)
        await asyncio.sleep(0.001)  # that it was done is kept beside the ack
        for _ in range(dice.randrange(1, 4)):
            within[(await post(endpoint, body, headers))[0]] += 1
        taken.now += 301
        after[(await post(endpoint, body, headers))[0]] += 1
    extra = len(taken.bodies) - count
    figure = f"{within.total() + after.total():,} replays of {count:,} commands: {extra} effects"
    record_figure(row="C3", promise="A replayed request has one effect", figure=figure)

    assert extra == 0
    assert set(within) == {200}
    assert set(after) == {401}


@contextlib.asynccontextmanager
async def served(taken: Taken) -> AsyncIterator[int]:
    taken.now = time.time()
    endpoint = taken.endpoint()
    async with serve_public("127.0.0.1", 0, endpoint, setting="slack.http_port") as port:
        yield port


async def answered(port: int, *pieces: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """Send the pieces, then read to the end; the bytes and how long it took."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                found = await reader.read()
    finally:
        writer.close()
    return found, time.monotonic() - begun


def head(body: bytes, *more: str, length: int | None = None) -> bytes:
    lines = [f"POST {EVENTS_PATH} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in signed(SECRET, body).items()]
    lines += [f"Content-Length: {len(body) if length is None else length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() -> None:
    async with served(taken := Taken()) as port:
        answer, took_s = await answered(port, head(b"", length=100_000_000))

    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"\r\n\r\n")
    assert took_s < 1.0
    assert taken.bodies == []


async def test_a_hundred_megabytes_in_chunks_are_cut_off_at_one_and_cost_no_memory(
    record_figure: RecordFigure,
) -> None:
    process = psutil.Process()
    async with served(taken := Taken()) as port:
        opening = head(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        before = process.memory_info().rss
        await asyncio.gather(*(answered(port, opening, *[chunk] * 1600) for _ in range(8)))
        grown = process.memory_info().rss - before

    figure = f"8 senders of 100 MB in chunks: cut off, {max(grown, 0) / 2**20:.1f} MB more memory"
    record_figure(row="C5", promise="Large, slow and many-headed requests", figure=figure)
    assert taken.bodies == []
    assert grown < 20 * MAX_BODY_BYTES


async def test_a_slow_body_and_slow_headers_end_after_five_seconds(
    record_figure: RecordFigure,
) -> None:
    async with served(taken := Taken()) as port:
        body, headers, right = await asyncio.gather(
            answered(port, head(b"x" * 1000), *[b"x"] * 40, pause_s=0.2),
            answered(port, b"POST /slack/events HTTP/1.1\r\n", *[b"A: b\r\n"] * 40, pause_s=0.2),
            _served_beside(port),
        )

    figure = f"slow body and headers: over in {max(body[1], headers[1]):.1f} s; others' slowest "
    figure += f"of 50 beside them {right * 1000:.0f} ms"
    record_figure(row="C5", promise="Large, slow and many-headed requests", figure=figure)
    assert body[0] == b"" or body[0].startswith(b"HTTP/1.1 408")  # a reset may overtake it
    assert headers[0] == b""
    assert body[1] < 10
    assert headers[1] < 10
    assert right < 0.5
    assert len(taken.bodies) == 50


async def _served_beside(port: int) -> float:
    """The slowest of fifty good requests while others are slow."""
    slowest, body = 0.0, encoded(EVENT)
    url = f"http://127.0.0.1:{port}{EVENTS_PATH}"
    async with aiohttp.ClientSession() as session:
        for _ in range(50):
            begun = time.monotonic()
            async with session.post(url, data=body, headers=signed(SECRET, body)) as answer:
                assert answer.status == 200
            slowest = max(slowest, time.monotonic() - begun)
    return slowest


async def test_ten_thousand_headers_are_refused() -> None:
    async with served(taken := Taken()) as port:
        body = encoded(EVENT)
        many = [f"H{number}: x" for number in range(10_000)]
        few = [f"H{number}: x" for number in range(150)]
        refused, _ = await answered(port, head(body, *many) + body)
        counted, _ = await answered(port, head(body, *few) + body)

    assert refused == b"" or refused.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    assert counted.startswith(b"HTTP/1.1 413")
    assert taken.bodies == []


async def test_a_gzip_bomb_is_never_unpacked() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    async with served(taken := Taken()) as port:
        answer, _ = await answered(port, head(bomb, "Content-Encoding: gzip") + bomb)

    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.endswith(b"\r\n\r\n")
    assert taken.bodies == []


async def test_what_is_no_http_is_told_nothing() -> None:
    async with served(Taken()) as port:
        answer, _ = await answered(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")

    assert answer in (
        b"",
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )


def test_the_signature_is_the_one_of_slacks_documentation() -> None:
    """docs.slack.dev, "Verifying requests from Slack": the worked example."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
        b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    found = signature_of(b"8f742231b10e8888abcd99yyyzzz85a5", b"1531420618", body)

    assert found == b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
