"""The engines of this process on tiny models: one line each in `ENGINE_BACKENDS`.

Those that need torch or a compiler carry the marker `engines`: `make test-engines` runs them.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from adapters.models.engine import EngineOptions
from agents.ports import Capabilities, ModelBackend
from agents.prompts.templates import TemplateFamily
from tests.tiny.gguf import tiny_gguf
from tests.tiny.hf import tiny_hf
from tests.tiny.hf_vision import tiny_hf_vision
from tests.tiny.onnx import tiny_onnx
from tests.tiny.onnx_graph import tiny_onnx_graph
from tests.tiny.onnx_vision import tiny_onnx_vision
from tests.tiny.openvino_text import tiny_openvino
from tests.tiny.openvino_vision import tiny_openvino_vision

# What runs on the wheels that `make test` installs.
PREBUILT = (
    "mlx",
    "mlx_moe",
    "onnx_genai",
    "openvino_moe",
    "openvino_phi",
    "openvino_vision",
)
CAPABILITIES = Capabilities(context_tokens=4096, constrained=True)


@asynccontextmanager
async def running(
    engine: str,
    make: Callable[[], Path],
    *,
    template: TemplateFamily = "phi3",
    capabilities: Capabilities = CAPABILITIES,
    slots: int | None = None,
) -> AsyncIterator[ModelBackend]:
    """An engine of `adapters/models` on the model that `make` makes or finds."""
    module = importlib.import_module(f"adapters.models.{engine}")
    backend: ModelBackend = await module.load(
        engine,
        make(),
        template=template,
        capabilities=capabilities,
        options=EngineOptions(threads=2, slots=slots, seed=1),
    )
    yield backend
    await backend.aclose()


ENGINE_BACKENDS: dict[str, Callable[[], AbstractAsyncContextManager[ModelBackend]]] = {
    "llama_cpp": partial(running, "llama_cpp", partial(tiny_gguf, "phi3.5")),
    "llama_cpp_moe": partial(running, "llama_cpp", partial(tiny_gguf, "phimoe")),
    "mlx": partial(running, "mlx", partial(tiny_hf, "phi3.5")),
    "mlx_moe": partial(running, "mlx", partial(tiny_hf, "phimoe")),
    "openvino_vision": partial(
        running,
        "openvino",
        tiny_openvino_vision,
        template="phi3_vision",
        capabilities=replace(CAPABILITIES, max_images=2),
    ),
    "openvino_phi": partial(running, "openvino", partial(tiny_openvino, "phi3.5")),
    "openvino_moe": partial(running, "openvino", partial(tiny_openvino, "phimoe", attention=0.02)),
    "onnx_genai": partial(running, "onnx_genai", partial(tiny_onnx_graph, "phi3.5")),
    "onnx_genai_int4": partial(running, "onnx_genai", partial(tiny_onnx, "phi3.5")),
    "onnx_genai_vision": partial(
        running,
        "onnx_genai",
        tiny_onnx_vision,
        template="phi3_vision",
        capabilities=replace(CAPABILITIES, context_tokens=8192, max_images=2),
    ),
    "transformers": partial(running, "transformers", partial(tiny_hf, "phi3.5")),
    "transformers_moe": partial(running, "transformers", partial(tiny_hf, "phimoe")),
    "transformers_vision": partial(
        running,
        "transformers",
        tiny_hf_vision,
        template="phi3_vision",
        capabilities=replace(CAPABILITIES, context_tokens=8192, max_images=2),
    ),
}


def engine_params(names: Iterable[str] = ENGINE_BACKENDS) -> list[ParameterSet]:
    """The names as test parameters, marked where `make test` does not run them."""
    heavy = (pytest.mark.engines,)
    return [pytest.param(each, marks=() if each in PREBUILT else heavy) for each in sorted(names)]
