"""The backends under the contract: one line each in `BACKENDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from adapters.models.langchain_model import LangChainBackend
from adapters.models.openai_api import OpenAICompatible
from adapters.models.scripted import DEFAULT_CAPABILITIES, Reply, Say, ScriptedBackend, Step
from adapters.models.scripted_server import ScriptedServer
from agents.ports import ModelBackend, ModelRequest
from tests.engine import lent_backend

COLOUR_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def talk(request: ModelRequest) -> Reply:
    """A long answer with pauses, so that there is something to cancel; JSON for a schema."""
    if request.schema is not None:
        return Step({"colour": "green"})
    return Say("one two three four five six seven eight nine ten " * 3, chunk=5, delay_s=0.002)


@asynccontextmanager
async def scripted() -> AsyncIterator[ModelBackend]:
    backend = ScriptedBackend("scripted", talk)
    yield backend
    await backend.aclose()


@asynccontextmanager
async def openai_api() -> AsyncIterator[ModelBackend]:
    async with ScriptedServer(talk) as url:
        backend = OpenAICompatible(
            "openai_api",
            base_url=url,
            model="scripted",
            api_key=None,
            capabilities=DEFAULT_CAPABILITIES,
        )
        yield backend
        await backend.aclose()


@asynccontextmanager
async def langchain() -> AsyncIterator[ModelBackend]:
    openai = pytest.importorskip("langchain_openai", reason="needs the extra langchain")
    async with ScriptedServer(talk) as url:
        model = openai.ChatOpenAI(base_url=url, model="scripted", api_key="none", max_retries=0)
        capabilities = replace(DEFAULT_CAPABILITIES, constrained=False)
        backend = LangChainBackend("langchain", model, capabilities=capabilities)
        yield backend
        await backend.aclose()
        await model.root_async_client.close()


BACKENDS: dict[str, Callable[[], AbstractAsyncContextManager[ModelBackend]]] = {
    "scripted": scripted,
    "langchain": langchain,
    "openai_api": openai_api,
    "openvino": lent_backend,
}
