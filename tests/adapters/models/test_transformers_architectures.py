"""Other causal models on torch: what several at once say is what the library says."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters.models.transformers_rows import MODEL_TYPES
from agents.ports import ModelRequest, PromptMessage, complete
from tests.contracts.engines import running
from tests.tiny.hf import tiny_hf

pytestmark = pytest.mark.engines
SIZES: dict[str, Any] = {
    "vocab_size": 32064,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 32000,
    "eos_token_id": 32000,
}
WINDOW = 50
MORE: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": WINDOW},
    # Its second layer only looks back as far as the window.
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "starcoder2": {},  # not in MODEL_TYPES: one conversation after the other
}


def made(model_type: str, folder: Path) -> Any:
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(model_type, **SIZES, **MORE.get(model_type, {}))
    causal: Any = transformers.AutoModelForCausalLM
    model = causal.from_config(config).eval()
    model.save_pretrained(folder)
    shutil.copy(tiny_hf("phi3") / "tokenizer.json", folder)
    return model


def greedy(model: Any, folder: Path, prompt: str, count: int) -> str:
    import torch
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = read.encode(prompt, add_special_tokens=False).ids
    began = len(ids)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    text: str = read.decode(ids[began:])
    return text


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "starcoder2"])
async def test_conversations_at_once_say_what_the_library_says(
    model_type: str, tmp_path: Path
) -> None:
    model = made(model_type, tmp_path)
    texts = ["Story." + " word" * words for words in (1, 90, 300)]
    requests = [ModelRequest((PromptMessage("user", text),), max_tokens=6) for text in texts]
    async with running("transformers", lambda: tmp_path) as backend:
        said = await asyncio.gather(*(complete(backend, each) for each in requests))

    for text, (answer, _) in zip(texts, said, strict=True):
        prompt = f"<|user|>\n{text}<|end|>\n<|assistant|>\n"
        assert answer.strip() == greedy(model, tmp_path, prompt, 6).strip() != ""


def test_every_architecture_that_shares_a_pass_is_proved() -> None:
    here = {"llama", "mistral", "qwen2"}
    in_test_transformers = {"phi3", "phi3_v", "phimoe"}

    assert here | in_test_transformers == MODEL_TYPES
