"""Pictures on the engines that read them, each with a tiny Phi-3-Vision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import jsonschema
import msgspec
import pytest
from PIL import Image

from adapters.models.check import COLOUR_SCHEMA
from agents.errors import BackendError
from agents.ports import ImageData, ModelBackend, ModelRequest, PromptMessage, complete
from agents.prompts.image_cost import image_tokens
from tests.contracts.engines import ENGINE_BACKENDS, engine_params
from tests.pictures import encoded

SIZES = [(640, 480), (336, 336), (1080, 1920), (3000, 500)]


def as_openvino_counts(width: int, height: int) -> int:
    """Four crops as its folder says, with the sides swapped (see `adapters/models/openvino.py`)."""
    return image_tokens(height, width, 4)


def as_genai_counts(width: int, height: int) -> int:
    return image_tokens(width, height, 16)


def as_transformers_counts(width: int, height: int) -> int:
    """Four crops as its folder says."""
    return image_tokens(width, height, 4)


COSTS: dict[str, Callable[[int, int], int]] = {
    "openvino_vision": as_openvino_counts,
    "onnx_genai_vision": as_genai_counts,
    "transformers_vision": as_transformers_counts,
}


@dataclass(frozen=True)
class Engine:
    backend: ModelBackend
    cost: Callable[[int, int], int]


@pytest.fixture(params=engine_params(COSTS))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with ENGINE_BACKENDS[request.param]() as backend:
        yield Engine(backend, COSTS[request.param])


def picture(width: int, height: int, colour: str) -> ImageData:
    return ImageData(encoded(Image.new("RGB", (width, height), colour), "PNG"), "image/png")


def ask(*images: ImageData, max_tokens: int = 16) -> ModelRequest:
    return ModelRequest((PromptMessage("user", "What is this?", images),), max_tokens)


@pytest.mark.parametrize("size", SIZES)
async def test_a_picture_costs_what_the_formula_says(engine: Engine, size: tuple[int, int]) -> None:
    _, bare = await complete(engine.backend, ask())
    _, shown = await complete(engine.backend, ask(picture(*size, "red")))

    cost = shown.usage.prompt_tokens - bare.usage.prompt_tokens
    assert 0 <= cost - engine.cost(*size) <= 4  # the break after the tag
    assert cost <= engine.backend.capabilities.image_tokens + 4


async def test_the_answer_depends_on_the_pixels(engine: Engine) -> None:
    red, blue, red_again = [
        (await complete(engine.backend, ask(picture(640, 480, colour))))[0]
        for colour in ("red", "blue", "red")
    ]

    assert red == red_again != blue


async def test_two_pictures_are_both_read(engine: Engine) -> None:
    both = ask(picture(64, 64, "red"), picture(640, 480, "green"))
    two = (await complete(engine.backend, both))[1].usage.prompt_tokens
    one = (await complete(engine.backend, ask(picture(64, 64, "red"))))[1].usage.prompt_tokens

    assert 0 <= two - one - engine.cost(640, 480) <= 4


async def test_an_answer_about_a_picture_keeps_its_schema(engine: Engine) -> None:
    asked = ask(picture(64, 64, "red"), max_tokens=64)

    text, finish = await complete(
        engine.backend, msgspec.structs.replace(asked, schema=COLOUR_SCHEMA)
    )

    jsonschema.validate(msgspec.json.decode(text), COLOUR_SCHEMA)
    assert finish.reason == "stop"


async def test_a_picture_too_many_is_refused_with_the_number(engine: Engine) -> None:
    with pytest.raises(BackendError, match="3 images given, the model takes 2"):
        await complete(engine.backend, ask(*[picture(64, 64, "red")] * 3))
