"""The same weights on different engines: what each says at temperature 0 is the same."""

from __future__ import annotations

from functools import partial

import pytest

from agents.ports import ModelRequest, PromptMessage, complete
from tests.contracts.engines import running
from tests.tiny.gguf import tiny_gguf
from tests.tiny.hf import tiny_hf

pytestmark = pytest.mark.engines
TURNS = (
    PromptMessage("system", "You are a helpful assistant."),
    PromptMessage("user", "What time is it? 日本"),
    PromptMessage("assistant", "It is noon."),
    PromptMessage("user", "And now?"),
)
# Full precision each; ONNX is left out, since its folder is quantized to 4 bits. And Phi-3,
# since MLX takes the long factors of Phi-3.5's LongRoPE for short prompts too.
MODELS = {"llama_cpp": tiny_gguf, "mlx": tiny_hf, "transformers": tiny_hf}


async def test_three_engines_write_the_same_words_from_the_same_weights() -> None:
    said: dict[str, tuple[str, int]] = {}
    for name, make in MODELS.items():
        async with running(name, partial(make, "phi3")) as backend:
            text, finish = await complete(backend, ModelRequest(TURNS, max_tokens=16))
            said[name] = (text, finish.usage.prompt_tokens)

    assert len(set(said.values())) == 1, said
