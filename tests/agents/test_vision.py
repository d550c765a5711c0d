"""Vision as a role: who looks, what is kept of what was said, and when nobody can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend
from adapters.models.scripted_replies import Fail, FailMidStream, Reply, Say
from agents.errors import BackendError, NoRouteError
from agents.ports import Delta, Finish, ImageData, ModelRequest, Queued
from agents.routing import Router
from agents.vision import MAX_CHARS, TEXT_ONLY_MARK, Eyes
from tests.agents.planning import route
from tools.labels import Integrity

PIXELS = ImageData(b"pixels", "image/png")
BROKEN = BackendError("v", "broke off", retryable=True)


def eyes(*backends: ScriptedBackend) -> Eyes:
    return Eyes(Router({"vision": [route(backend) for backend in backends]}))


def model(name: str, *replies: Reply) -> ScriptedBackend:
    return ScriptedBackend(name, replies)


async def test_a_local_only_picture_never_reaches_a_cloud_route() -> None:
    cloud, local = model("cloud", Say("leak")), model("local", Say("a red square"))
    router = Router({"vision": [route(cloud, "cloud"), route(local)]})

    seen = await Eyes(router).describe(PIXELS, question=None, pin="cloud", local_only=True)

    assert (seen.text, seen.route, cloud.requests) == ("a red square", "local", [])


async def test_a_vision_route_gets_the_pixels_and_the_question_and_is_never_trusted() -> None:
    backend = model("v", Say("a red square"))
    seen = await eyes(backend).describe(PIXELS, question="Which colour?")

    (asked,) = backend.requests[0].messages
    assert (asked.text, asked.images) == ("Which colour?", (PIXELS,))
    assert (seen.text, seen.route, seen.label.integrity) == (
        "a red square",
        "v",
        Integrity.UNTRUSTED,
    )


async def test_what_only_reads_letters_is_marked_as_such() -> None:
    capabilities = replace(DEFAULT_CAPABILITIES, reads_text_only=True)
    backend = ScriptedBackend("ocr", [Say("Error 42")], capabilities=capabilities)

    seen = await eyes(backend).describe(PIXELS, question=None)
    assert seen.text == f"{TEXT_ONLY_MARK}: Error 42"


async def test_what_is_seen_is_bounded() -> None:
    seen = await eyes(model("v", Say("abcdefghi " * 500))).describe(PIXELS, question=None)

    assert 0 < len(seen.text) <= MAX_CHARS


@pytest.mark.parametrize(
    "failing",
    [lambda: Fail(BROKEN), lambda: FailMidStream("half a sentence", BROKEN, after_chunks=1)],
    ids=["before its first word", "halfway"],
)
async def test_a_vision_route_that_fails_is_replaced_and_its_words_are_dropped(
    failing: Callable[[], Reply],
) -> None:
    seen = await eyes(model("v", failing()), model("w", Say("a cat"))).describe(
        PIXELS, question=None
    )

    assert (seen.text, seen.route) == ("a cat", "w")


async def test_without_a_vision_route_that_can_serve_the_reason_is_told() -> None:
    with pytest.raises(NoRouteError, match="none is configured"):
        await eyes().describe(PIXELS, question=None)
    with pytest.raises(NoRouteError, match="v: broke off"):
        await eyes(model("v", Fail(BROKEN))).describe(PIXELS, question=None)


class Busy:
    """An engine with others in its line."""

    def __init__(self, engine: ScriptedBackend) -> None:
        self.engine, self.name, self.capabilities = engine, engine.name, engine.capabilities
        self.count_tokens, self.aclose = engine.count_tokens, engine.aclose

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish | Queued, None]:
        for position in (1, 0, -1):
            yield Queued(position)
        async with aclosing(self.engine.stream(request)) as items:
            async for item in items:
                yield item


async def test_the_line_before_a_busy_vision_model_is_told() -> None:
    places: list[int] = []
    busy = Eyes(Router({"vision": [route(Busy(model("v", Say("a cat"))))]}))
    seen = await busy.describe(PIXELS, question=None, waiting=places.append)

    assert (seen.text, places) == ("a cat", [1, 0, -1])


@pytest.mark.parametrize(
    ("most", "context_tokens", "shown"),
    [(4, 8192, [0, 2, 3, 5]), (2, 8192, [0, 5]), (1, 8192, [0]), (4, 1200, [0, 5])],
)
async def test_a_recording_is_shown_as_frames_as_many_as_the_route_takes(
    most: int, context_tokens: int, shown: list[int]
) -> None:
    first, *more = [ImageData(bytes([at]), "image/png") for at in range(6)]
    limits = replace(DEFAULT_CAPABILITIES, max_images=most, context_tokens=context_tokens)
    backend = ScriptedBackend("v", [Say("it moves")], capabilities=limits)

    await eyes(backend).describe(first, question="What moves?", more=more)

    (asked,) = backend.requests[0].messages
    assert [image.data[0] for image in asked.images] == shown
    assert (f"These {len(shown)} images" in asked.text) == (len(shown) > 1)
