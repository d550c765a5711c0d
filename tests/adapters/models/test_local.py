"""What the backend of every in-process engine refuses before the engine is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from adapters.models.engine import Emit, Generation, Job, Outcome
from adapters.models.local import LocalBackend
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, ImageData, ModelRequest, PromptMessage, complete
from agents.prompts.templates import TemplateFamily
from tests.agents.test_image_cost import encoded

CAPABILITIES = Capabilities(context_tokens=800, max_images=1, image_tokens=781, num_crops=4)


class Untouched:
    """An engine that counts a token a letter and must not be run."""

    takes_images, slots = True, 1

    def count(self, text: str) -> int:
        return len(text)

    def start(self, job: Job, emit: Emit) -> Generation:
        raise AssertionError("the engine was asked")

    def advance(self, running: Sequence[Generation]) -> Sequence[bool | Exception]:
        raise AssertionError("the engine was asked")

    def close(self) -> None:
        return None


async def refusal(template: TemplateFamily, image: ImageData) -> BackendError:
    backend = LocalBackend("near", Untouched(), template=template, capabilities=CAPABILITIES)
    request = ModelRequest((PromptMessage("user", "", (image,)),), max_tokens=10)
    with pytest.raises(BackendError) as caught:
        await complete(backend, request)
    await backend.aclose()
    return caught.value


async def test_a_template_without_image_tags_is_named_and_the_engine_left_alone() -> None:
    error = await refusal("chatml", encoded((336, 336), "PNG", "RGB"))

    assert "template family 'chatml' has no image tags; set the route's template" in str(error)


async def test_a_prompt_is_refused_by_what_its_image_costs() -> None:
    error = await refusal("phi3_vision", encoded((336, 336), "PNG", "RGB"))

    assert isinstance(error, PromptTooLong)
    letters = len("<|user|>\n<|image_1|>\n<|end|>\n<|assistant|>\n")
    assert (error.tokens, error.limit) == (757 + letters, 790)


class Endless(Untouched):
    """An engine whose answers never end, one at a time."""

    def start(self, job: Job, emit: Emit) -> Generation:
        emit("word")
        return Talk()

    def advance(self, running: Sequence[Generation]) -> Sequence[bool | Exception]:
        time.sleep(0.001)
        return [False] * len(running)


class Talk:
    def outcome(self) -> Outcome:
        return Outcome("cancelled", 1, 1)

    def close(self, *, failed: bool = False) -> None:
        return None


async def test_closing_ends_who_reads_and_who_waits_at_once() -> None:
    backend = LocalBackend("near", Endless(), template="phi3", capabilities=CAPABILITIES)
    request = ModelRequest((PromptMessage("user", "Hello."),), max_tokens=10)
    readers = [asyncio.create_task(complete(backend, request)) for _ in range(3)]
    await asyncio.sleep(0.05)

    await backend.aclose()
    async with asyncio.timeout(1):
        ended = await asyncio.gather(*readers, return_exceptions=True)

    assert all(isinstance(each, BackendError) for each in ended), ended
    assert all("the model was closed" in str(each) for each in ended)
