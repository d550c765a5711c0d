"""The same weights on different engines: what each says at temperature 0 is the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agents.ports import ModelRequest, PromptMessage, complete
from tests.contracts.engines import running
from tests.tiny.gguf import tiny_gguf
from tests.tiny.hf import TextModel, tiny_hf
from tests.tiny.onnx_graph import tiny_onnx_graph
from tests.tiny.openvino_text import tiny_openvino

TURNS = (
    PromptMessage("system", "You are a helpful assistant."),
    PromptMessage("user", "What time is it? 日本"),
    PromptMessage("assistant", "It is noon."),
    PromptMessage("user", "And now?"),
)
Make = Callable[[TextModel], Path]
# Phi-3 and the MoE where MLX is among them: it takes the long factors of Phi-3.5's LongRoPE for
# short prompts too. GenAI's own builder is left out, since its folder has 4 bits.
PREBUILT: dict[str, Make] = {
    "mlx": tiny_hf,
    "onnx_genai": tiny_onnx_graph,
    "openvino": partial(tiny_openvino, attention=1.0),
}
HEAVY: dict[str, Make] = {"llama_cpp": tiny_gguf, "transformers": tiny_hf}
GROUPS: dict[str, tuple[TextModel, tuple[str, ...]]] = {
    "phi3": ("phi3", ("mlx", "onnx_genai", "openvino")),
    "longrope": ("phi3.5", ("onnx_genai", "openvino")),
    "experts": ("phimoe", ("mlx", "openvino")),
}
HEAVY_GROUPS: dict[str, tuple[TextModel, tuple[str, ...]]] = {
    "phi3": ("phi3", ("llama_cpp", "mlx", "transformers")),
    "longrope": ("phi3.5", ("onnx_genai", "openvino", "transformers")),
    "experts": ("phimoe", ("mlx", "openvino", "transformers")),
}


async def said(model: TextModel, engines: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """Each engine's words and the length of its prompt."""
    found: dict[str, tuple[str, int]] = {}
    for name in engines:
        async with running(name, partial({**PREBUILT, **HEAVY}[name], model)) as backend:
            text, finish = await complete(backend, ModelRequest(TURNS, max_tokens=16))
            found[name] = (text, finish.usage.prompt_tokens)
    return found


@pytest.mark.parametrize("group", GROUPS)
async def test_engines_with_prebuilt_wheels_write_the_same_words_from_the_same_weights(
    group: str,
) -> None:
    words = await said(*GROUPS[group])

    assert len(set(words.values())) == 1, words


@pytest.mark.engines
@pytest.mark.parametrize("group", HEAVY_GROUPS)
async def test_the_heavy_engines_write_them_too(group: str) -> None:
    words = await said(*HEAVY_GROUPS[group])

    assert len(set(words.values())) == 1, words
