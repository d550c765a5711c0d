"""The backends under the contract: one line each in `BACKENDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from adapters.models.langchain_model import LangChainBackend
from adapters.models.llama_server import LlamaServerBackend
from adapters.models.ollama import OllamaBackend
from adapters.models.openai_api import OpenAICompatible
from adapters.models.presets import PRESETS, PresetName
from adapters.models.scripted import DEFAULT_CAPABILITIES, Reply, Say, ScriptedBackend, Step
from adapters.models.scripted_server import ScriptedServer
from agents.ports import ModelBackend, ModelRequest
from tests.engine import lent_backend
from tests.twins.foundry import FoundryTwin
from tests.twins.llama_chat import LlamaChatTwin
from tests.twins.llama_server import LlamaServerTwin
from tests.twins.nim import NimTwin, NvidiaTwin
from tests.twins.ollama import OllamaModel, OllamaTwin
from tests.twins.openai_service import ServiceTwin
from tests.twins.vllm import VllmTwin


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


@asynccontextmanager
async def ollama() -> AsyncIterator[ModelBackend]:
    seeing = OllamaModel("llava-phi3:latest", capabilities=("completion", "vision"))
    async with OllamaTwin(talk, models=[seeing]) as url:
        backend = await OllamaBackend.load(
            "ollama", base_url=url, model="llava-phi3", context_tokens=8192, max_images=2
        )
        yield backend
        await backend.aclose()


@asynccontextmanager
async def llama_server() -> AsyncIterator[ModelBackend]:
    async with LlamaServerTwin(talk) as url:
        backend = await LlamaServerBackend.load("llama_server", base_url=url)
        yield backend
        await backend.aclose()


@asynccontextmanager
async def service(preset: PresetName, twin: ServiceTwin) -> AsyncIterator[ModelBackend]:
    """The preset's own client, made ready against the service's twin."""
    async with twin as url:
        backend = OpenAICompatible(
            preset,
            base_url=url,
            model="scripted",
            api_key=twin.key,
            capabilities=DEFAULT_CAPABILITIES,
            preset=PRESETS[preset],
        )
        await backend.prepare()
        yield backend
        await backend.aclose()


BACKENDS: dict[str, Callable[[], AbstractAsyncContextManager[ModelBackend]]] = {
    "scripted": scripted,
    "foundry": lambda: service("foundry", FoundryTwin(talk, api_key="azure-key")),
    "nim": lambda: service("nim", NimTwin(talk)),
    "nvidia": lambda: service("nvidia", NvidiaTwin(talk, api_key="nvapi-key")),
    "vllm": lambda: service("vllm", VllmTwin(talk, api_key="token")),
    "llama_server_chat": lambda: service("llama_server", LlamaChatTwin(talk)),
    "langchain": langchain,
    "llama_server": llama_server,
    "ollama": ollama,
    "openai_api": openai_api,
    "openvino": lent_backend,
}
