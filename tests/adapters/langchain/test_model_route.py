from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("langchain_core", reason="needs the extra langchain")

from langsmith import tracing_context

from adapters.models.langchain_model import LangChainBackend
from adapters.models.scripted import DEFAULT_CAPABILITIES
from agents.errors import BackendError
from agents.ports import Capabilities, ImageData, ModelRequest, PromptMessage, Usage, complete
from bot.routes import build_chains
from bot.settings import load_settings
from bot.settings_errors import SettingsError
from tests.adapters.langchain.chat_models import Blocking, Deaf, Parrot

MODELS = "tests.adapters.langchain.chat_models"
ASK = ModelRequest(
    (PromptMessage("system", "Be kind."), PromptMessage("user", "hello")), max_tokens=64
)


def backend_of(model: Any, **capabilities: Any) -> LangChainBackend:
    known = {"context_tokens": 1024, "max_images": 2, **capabilities}
    return LangChainBackend("lc", model, capabilities=Capabilities(**known))


async def test_any_chat_model_answers_with_its_own_usage() -> None:
    model = Parrot()

    text, finish = await complete(backend_of(model), ASK)

    assert (text, finish.reason, finish.usage) == ("Good day", "stop", Usage(7, 2))
    assert [(each.type, each.content) for each in model.seen[0]] == [
        ("system", "Be kind."),
        ("human", "hello"),
    ]


async def test_a_model_with_only_a_blocking_call_answers_too() -> None:
    text, finish = await complete(backend_of(Blocking()), ASK)

    assert text == "You said: hello"
    assert finish.usage.prompt_tokens > 0 < finish.usage.completion_tokens


async def test_a_cancellation_that_a_layer_below_swallows_still_ends_the_answer() -> None:
    task = asyncio.create_task(complete(backend_of(Deaf()), ASK), name="to be cancelled")
    await asyncio.sleep(0.05)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_schema_is_told_in_words_behind_everything_else() -> None:
    model = Parrot(pieces=('{"n": 1}',))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    text, _ = await complete(backend_of(model), msgspec.structs.replace(ASK, schema=schema))

    assert text == '{"n": 1}'
    asked = model.seen[0][-1].text
    assert asked.startswith("hello\n\nAnswer with one JSON value")
    assert asked.endswith(msgspec.json.encode(schema).decode())


async def test_images_travel_as_content_parts() -> None:
    model = Parrot()
    message = PromptMessage("user", "What is it?", (ImageData(b"pixels", "image/png"),))

    await complete(backend_of(model), ModelRequest((message,), 64))

    assert model.seen[0][0].content == [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image",
            "base64": base64.b64encode(b"pixels").decode(),
            "mime_type": "image/png",
        },
    ]


async def test_a_failing_model_is_a_retryable_error_without_its_message() -> None:
    model = Parrot(pieces=(), fails=ValueError("the user wrote: my password is 1234"))

    with pytest.raises(BackendError, match="ValueError") as caught:
        await complete(backend_of(model), ASK)

    assert caught.value.retryable
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"first_token_timeout_s": 0.01}, "did not begin to answer within 0.01 s"),
        ({"first_token_timeout_s": 9, "gap_timeout_s": 0.01}, "sent nothing more within 0.01 s"),
    ],
)
async def test_a_silent_model_is_given_up_after_the_limit(limits: Any, why: str) -> None:
    model = Parrot(pieces=("a", "b"), delay_s=0.2)

    with pytest.raises(BackendError, match=why):
        await complete(backend_of(model), msgspec.structs.replace(ASK, **limits))


async def test_an_answer_that_the_service_cut_says_so() -> None:
    _, finish = await complete(backend_of(Parrot(finish_reason="max_tokens")), ASK)

    assert finish.reason == "length"


async def test_a_route_copies_no_prompt_to_a_tracing_service() -> None:
    model = Parrot()

    with tracing_context(enabled=True):
        await complete(backend_of(model), ASK)

    assert model.traced == [False]


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("no_such_module_of_ours:make", "no module 'no_such_module_of_ours'"),
        (f"{MODELS}:missing", "has no 'missing'"),
        (f"{MODELS}:not_a_function", "is not a function"),
        (f"{MODELS}:no_model", "returned a str; it must return a BaseChatModel"),
        (f"{MODELS}:broken", "failed: ValueError"),
    ],
)
async def test_a_bad_factory_is_named_with_the_reason(factory: str, why: str) -> None:
    with pytest.raises(BackendError, match=why) as caught:
        await LangChainBackend.load("lc", factory, capabilities=DEFAULT_CAPABILITIES)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "said"), [("parrot", "Good day"), ("slow_parrot", "made later")]
)
async def test_one_setting_makes_a_chat_model_the_planner(
    tmp_path: Path, factory: str, said: str
) -> None:
    config = tmp_path / "firstline.toml"
    config.write_text(
        f'[models.routes.mine]\nbackend = "langchain"\nmodel = "{MODELS}:{factory}"\n'
        '[roles]\nplanner = ["mine"]\n'
    )
    [route] = (await build_chains(load_settings(config, environ={})))["planner"]

    backend = await route.load()

    assert route.placement == "cloud"  # unless the operator says otherwise
    assert not backend.capabilities.constrained
    assert (await complete(backend, ASK))[0] == said


@pytest.mark.parametrize("model", ["", "gpt-4o", "package.module", "a b:c", "a:b.c"])
def test_a_setting_that_names_no_factory_is_refused_at_the_start(model: str) -> None:
    route = {"backend": "langchain", "model": model}

    with pytest.raises(SettingsError, match=r"model: .*package\.module:function"):
        load_settings(environ={}, overrides={"models.routes.a": route})
