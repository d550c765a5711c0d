"""Closing a backend gives its model's memory back, though the backend itself is still held."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import psutil
import pytest

from adapters.models.embedded import CAPABILITIES, find_embedded_model
from adapters.models.local import LocalBackend
from agents.ports import ModelRequest, PromptMessage, complete
from tests.contracts.engines import ENGINE_BACKENDS, engine_params, running

REQUEST = ModelRequest((PromptMessage("user", "Hello."),), max_tokens=8)


@pytest.mark.parametrize("name", engine_params(("mlx", "onnx_genai", "transformers")))
async def test_nothing_holds_a_closed_model(name: str) -> None:
    async with ENGINE_BACKENDS[name]() as backend:
        assert isinstance(backend, LocalBackend)
        await complete(backend, REQUEST)
        engine: Any = backend._engine
        model = weakref.ref(engine._model)
        await backend.aclose()
        gc.collect()

        assert model() is None


@pytest.mark.engines
async def test_llama_cpp_returns_the_memory_to_the_system() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    async with running(
        "llama_cpp", find_embedded_model, template="chatml", capabilities=CAPABILITIES
    ) as backend:
        await complete(backend, REQUEST)
        loaded = process.memory_info().rss
        await backend.aclose()
        after = process.memory_info().rss

    assert loaded - before > 80e6, "the model was in memory"
    assert after - before < (loaded - before) / 2
