"""The OCR route reads letters, says so when there are none, and fetches nothing."""

from __future__ import annotations

import importlib.util
import socket
from typing import Any, NoReturn

import pytest

from adapters.images import prepare_image
from adapters.models.ocr import NOTHING_READ, OcrBackend, in_reading_order, is_text
from agents.errors import BackendError
from agents.ports import ImageData, ModelRequest, PromptMessage, complete
from tests import pictures

engine = pytest.mark.engine
without_wheels = pytest.mark.skipif(
    not importlib.util.find_spec("rapidocr"), reason="needs the wheel rapidocr"
)
_shared = OcrBackend()


async def shown(*files: bytes) -> ModelRequest:
    made = [await prepare_image(file) for file in files]
    images = tuple(ImageData(one.data, one.media_type) for one in made)
    return ModelRequest((PromptMessage("user", "What does this say?", images),), max_tokens=500)


@engine
@without_wheels
async def test_an_error_window_is_read_line_by_line_without_a_network(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the reader went to the network")

    request = await shown(pictures.error_window())
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)

    text, finish = await complete(_shared, request)

    assert text.splitlines() == [*pictures.ERROR_LINES, "OK"]
    assert finish.reason == "stop"
    assert capfd.readouterr() == ("", "")


@engine
@without_wheels
async def test_an_image_without_text_gets_an_honest_sentence() -> None:
    assert (await complete(_shared, await shown(pictures.shapes())))[0] == NOTHING_READ


@engine
@without_wheels
async def test_several_images_are_told_apart() -> None:
    text, _ = await complete(_shared, await shown(pictures.shapes(), pictures.error_window()))

    assert text.startswith(f"Image 1:\n{NOTHING_READ}\n\nImage 2:\nApplication Error\n")


async def test_bytes_that_are_no_image_are_an_error_not_an_address() -> None:
    image = ImageData(b"https://example.com/x.png", "image/png")

    with pytest.raises(BackendError, match="reading failed"):
        await complete(_shared, ModelRequest((PromptMessage("user", "", (image,)),), 10))


async def test_without_an_image_the_next_route_is_asked() -> None:
    with pytest.raises(BackendError, match="reads images only") as caught:
        await complete(_shared, ModelRequest((PromptMessage("user", "Hello"),), 10))

    assert caught.value.retryable


def test_it_is_declared_to_read_text_only() -> None:
    assert _shared.capabilities.reads_text_only
    assert _shared.capabilities.max_images > 0


def test_a_lone_letter_counts_only_when_the_reader_is_sure() -> None:
    assert is_text("7", 0.98)
    assert not is_text("V", 0.77)
    assert is_text("OK", 0.6)


def test_pieces_are_joined_into_lines_from_left_to_right() -> None:
    def box(x: float, y: float) -> list[list[float]]:
        return [[x, y], [x + 50, y], [x + 50, y + 20], [x, y + 20]]

    boxes = [box(200, 4), box(0, 40), box(0, 0), box(100, 2)]

    assert in_reading_order(boxes, ["c", "d", "a", "b"]) == ["a  b  c", "d"]
