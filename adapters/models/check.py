"""What every `ModelBackend` keeps, tried on a live one: the contract suite's own checks."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal

import jsonschema
import msgspec

from agents.errors import AgentError, BackendError, PromptTooLong
from agents.ports import (
    Delta,
    Finish,
    ImageData,
    ModelBackend,
    ModelRequest,
    PromptMessage,
    Queued,
    complete,
)
from tools.contract import JsonSchema

CANCEL_LIMIT_S = 0.2
SCHEMA_RUNS = 10
COLOUR_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
ASK = ModelRequest((PromptMessage("user", "Count from one to ten, three times."),), max_tokens=256)
_CHECK_TIMEOUT_S = 300.0  # gigabytes on two cores; the request's own limits are tighter
_SHORT_TOKENS = 8  # an answer this short may come in one piece
_ROOM_TOKENS = 64
_BROKEN = (AgentError, OSError, RuntimeError, ValueError)  # TimeoutError is an OSError

Outcome = Literal["pass", "fail", "skipped"]


class CheckFailed(Exception):
    """The backend broke its contract; the message says how."""


class CheckSkipped(Exception):
    """The check has no meaning for this backend; the message says why."""


class CheckResult(msgspec.Struct, frozen=True):
    """One line of a report."""

    name: str
    outcome: Outcome
    detail: str
    seconds: float


async def run_checks(
    backend: ModelBackend, *, timeout_s: float = _CHECK_TIMEOUT_S
) -> AsyncGenerator[CheckResult, None]:
    """All checks in order, a result each; the last one closes the backend."""
    for name, check in CHECKS.items():
        started = time.monotonic()
        outcome, detail = await _outcome(check, backend, timeout_s)
        yield CheckResult(name, outcome, detail, round(time.monotonic() - started, 3))


async def _outcome(check: Check, backend: ModelBackend, timeout_s: float) -> tuple[Outcome, str]:
    try:
        async with asyncio.timeout(timeout_s):
            return "pass", await check(backend)
    except CheckSkipped as why:
        return "skipped", str(why)
    except CheckFailed as error:
        return "fail", str(error)
    except TimeoutError:
        return "fail", f"not done within {timeout_s:g} s"
    except _BROKEN as error:
        return "fail", f"{type(error).__name__}: {error}"


async def check_streaming(backend: ModelBackend) -> str:
    """Deltas with text, then exactly one finish."""
    _needs_text(backend)
    async with aclosing(backend.stream(ASK)) as stream:
        items = [item async for item in stream if not isinstance(item, Queued)]
    finish = items[-1] if items else None
    deltas = [item.text for item in items[:-1] if isinstance(item, Delta)]
    if not isinstance(finish, Finish) or len(deltas) != len(items) - 1:
        raise CheckFailed("a stream must be deltas and then exactly one finish")
    if not deltas or not all(deltas):
        raise CheckFailed("a delta had no text" if deltas else "the answer had no text")
    if len(deltas) == 1 and finish.usage.completion_tokens > _SHORT_TOKENS:
        raise CheckFailed(f"{finish.usage.completion_tokens} tokens came in one piece")
    return f"{len(deltas)} pieces"


async def check_cancel(backend: ModelBackend) -> str:
    """Closing the stream stops it at once, and the backend serves on."""
    _needs_text(backend)
    stream = backend.stream(ASK)
    while not isinstance(item := await anext(stream), Delta):
        if isinstance(item, Finish):
            raise CheckFailed("the answer had no text")
    started = time.monotonic()
    await stream.aclose()
    took_s = time.monotonic() - started
    if took_s >= CANCEL_LIMIT_S:
        raise CheckFailed(f"stopping took {took_s * 1000:.0f} ms")
    await _answer(backend, ASK)
    return f"{took_s * 1000:.0f} ms"


async def check_usage(backend: ModelBackend) -> str:
    """Prompt and answer are counted."""
    _needs_text(backend)
    _, finish = await complete(backend, ASK)
    used = finish.usage
    if used.prompt_tokens <= 0 or not 0 < used.completion_tokens <= ASK.max_tokens:
        counted = f"{used.prompt_tokens} of the prompt, {used.completion_tokens} of the answer"
        raise CheckFailed(f"tokens counted: {counted}")
    return f"{used.prompt_tokens} + {used.completion_tokens} tokens"


async def check_limit(backend: ModelBackend) -> str:
    """An answer cut at its token limit says so."""
    _needs_text(backend)
    text, finish = await complete(backend, msgspec.structs.replace(ASK, max_tokens=4))
    if not text or finish.reason != "length":
        raise CheckFailed(f"4 tokens of {len(text)} characters ended as {finish.reason!r}")
    return "4 tokens"


async def check_counts(backend: ModelBackend) -> str:
    """A longer text counts more tokens."""
    _needs_text(backend)
    counts = [await backend.count_tokens("word " * times) for times in (0, 1, 10, 100)]
    if counts != sorted(set(counts)):
        raise CheckFailed(f"0, 1, 10 and 100 words count as {counts}")
    return f"100 words are {counts[-1]} tokens"


async def check_schema(backend: ModelBackend) -> str:
    """Ten answers in JSON, each of the asked schema."""
    _needs_text(backend)
    if not backend.capabilities.constrained:
        raise CheckSkipped("does not claim constrained decoding")
    for run in range(1, SCHEMA_RUNS + 1):
        asked = PromptMessage("user", f"Choose colour number {run}. Answer in JSON.")
        text, finish = await complete(backend, ModelRequest((asked,), 64, schema=COLOUR_SCHEMA))
        try:
            jsonschema.validate(msgspec.json.decode(text), COLOUR_SCHEMA)
        except (msgspec.DecodeError, jsonschema.ValidationError) as error:
            raise CheckFailed(f"answer {run} of {SCHEMA_RUNS} is not of the schema") from error
        if finish.reason != "stop":
            raise CheckFailed(f"answer {run} of {SCHEMA_RUNS} ended as {finish.reason!r}")
    return f"{SCHEMA_RUNS} of {SCHEMA_RUNS}"


async def check_stop(backend: ModelBackend) -> str:
    """A stop string ends the answer and is not part of it."""
    _needs_text(backend)
    whole = await _answer(backend, ASK)
    stop = whole[len(whole) // 2 :][:4]
    text, finish = await complete(backend, msgspec.structs.replace(ASK, stop=(stop,)))
    if stop in text or finish.reason != "stop":
        raise CheckFailed(f"the answer went on past its stop string ({finish.reason!r})")
    if whole.startswith(text) and text != whole.partition(stop)[0]:
        raise CheckFailed("the answer ended before its stop string")
    return f"after {len(text)} of {len(whole)} characters"


async def check_too_long(backend: ModelBackend) -> str:
    """A prompt over the window is refused before it is sent, without a word of it."""
    _needs_text(backend)
    limit = backend.capabilities.context_tokens
    message = PromptMessage("user", "word " * limit)
    try:
        await complete(backend, ModelRequest((message,), max_tokens=_ROOM_TOKENS))
    except PromptTooLong as error:
        if not error.tokens > error.limit == limit - _ROOM_TOKENS or "word" in str(error):
            raise CheckFailed(f"refused with the wrong figures: {error}") from error
        return f"{error.tokens} tokens for a window of {limit}"
    raise CheckFailed(f"{limit} words went into a window of {limit} tokens")


async def check_together(backend: ModelBackend) -> str:
    """Two streams at once both finish."""
    _needs_text(backend)
    one, other = await asyncio.gather(_answer(backend, ASK), _answer(backend, ASK))
    return f"{len(one)} and {len(other)} characters"


async def check_images(backend: ModelBackend) -> str:
    """As many images as declared are taken; one more is a clear refusal."""
    most = backend.capabilities.max_images
    if most:
        await _answer(backend, _with_images(most))
    try:
        await complete(backend, _with_images(most + 1))
    except BackendError as error:
        if "image" not in str(error):
            raise CheckFailed(f"{most + 1} images were refused without naming them") from error
        return f"{most} taken, {most + 1} refused" if most else "takes none, and says so"
    raise CheckFailed(f"{most + 1} images were taken, {most} are declared")


async def check_close(backend: ModelBackend) -> str:
    """Closing twice is harmless, and a closed backend refuses."""
    await backend.aclose()
    await backend.aclose()
    try:
        await complete(backend, ASK)
    except BackendError:
        return "closed, and refuses"
    raise CheckFailed("it answered after it was closed")


def _needs_text(backend: ModelBackend) -> None:
    if backend.capabilities.reads_text_only:
        raise CheckSkipped("reads text in images only")


async def _answer(backend: ModelBackend, request: ModelRequest) -> str:
    text, _ = await complete(backend, request)
    if not text:
        raise CheckFailed("the answer had no text")
    return text


def _with_images(count: int) -> ModelRequest:
    images = (_picture(),) * count
    return ModelRequest((PromptMessage("user", "What is this?", images),), max_tokens=32)


def _picture(side: int = 64) -> ImageData:
    """A grey square as PNG."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    rows = (b"\0" + b"\x80\x80\x80" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return ImageData(b"\x89PNG\r\n\x1a\n" + body, "image/png")


Check = Callable[[ModelBackend], Awaitable[str]]
CHECKS: dict[str, Check] = {
    "streaming": check_streaming,
    "cancel": check_cancel,
    "usage": check_usage,
    "token limit": check_limit,
    "token counts": check_counts,
    "schema": check_schema,
    "stop string": check_stop,
    "prompt too long": check_too_long,
    "two at once": check_together,
    "images": check_images,
    "close": check_close,
}
