"""Pictures on OpenVINO's vision pipeline, with a tiny Phi-3-Vision."""

from __future__ import annotations

from collections.abc import AsyncIterator

import jsonschema
import msgspec
import pytest
from PIL import Image

from adapters.models import openvino
from adapters.models.check import COLOUR_SCHEMA
from adapters.models.local import LocalBackend
from agents.errors import BackendError
from agents.ports import Capabilities, ImageData, ModelRequest, PromptMessage, complete
from agents.prompts.image_cost import image_tokens
from tests.pictures import encoded
from tests.tiny.openvino_vision import NUM_CROPS, tiny_openvino_vision

pytestmark = pytest.mark.engines


@pytest.fixture
async def backend() -> AsyncIterator[LocalBackend]:
    made = await openvino.load(
        "vision",
        tiny_openvino_vision(),
        template="phi3_vision",
        capabilities=Capabilities(context_tokens=4096, constrained=True, max_images=2),
    )
    yield made
    await made.aclose()


def picture(width: int, height: int, colour: str) -> ImageData:
    return ImageData(encoded(Image.new("RGB", (width, height), colour), "PNG"), "image/png")


def ask(*images: ImageData, max_tokens: int = 16) -> ModelRequest:
    return ModelRequest((PromptMessage("user", "What is this?", images),), max_tokens)


@pytest.mark.parametrize("size", [(640, 480), (336, 336), (1080, 1920), (3000, 500)])
async def test_a_picture_costs_what_the_formula_says_with_its_sides_swapped(
    backend: LocalBackend, size: tuple[int, int]
) -> None:
    _, bare = await complete(backend, ask())
    _, shown = await complete(backend, ask(picture(*size, "red")))

    cost = shown.usage.prompt_tokens - bare.usage.prompt_tokens
    assert 0 <= cost - image_tokens(size[1], size[0], NUM_CROPS) <= 4  # the break after the tag
    assert cost <= backend.capabilities.image_tokens + 4


async def test_the_answer_depends_on_the_pixels(backend: LocalBackend) -> None:
    red, blue, red_again = [
        (await complete(backend, ask(picture(640, 480, colour))))[0]
        for colour in ("red", "blue", "red")
    ]

    assert red == red_again != blue


async def test_two_pictures_are_both_read(backend: LocalBackend) -> None:
    one = (await complete(backend, ask(picture(64, 64, "red"), picture(64, 64, "green"))))[1]
    other = (await complete(backend, ask(picture(64, 64, "red"))))[1]

    assert one.usage.prompt_tokens - other.usage.prompt_tokens >= image_tokens(64, 64, NUM_CROPS)


async def test_an_answer_about_a_picture_keeps_its_schema(backend: LocalBackend) -> None:
    request = msgspec.structs.replace(
        ask(picture(64, 64, "red"), max_tokens=64), schema=COLOUR_SCHEMA
    )

    text, finish = await complete(backend, request)

    jsonschema.validate(msgspec.json.decode(text), COLOUR_SCHEMA)
    assert finish.reason == "stop"


async def test_a_picture_too_many_is_refused_with_the_number(backend: LocalBackend) -> None:
    with pytest.raises(BackendError, match="3 images given, the model takes 2"):
        await complete(backend, ask(*[picture(64, 64, "red")] * 3))
