"""The engine on torch against the library's own whole forward pass, and folders it can't take."""

from __future__ import annotations

import asyncio
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.errors import BackendError
from agents.ports import Capabilities, ModelRequest, PromptMessage, complete
from tests.contracts.engines import running
from tests.tiny.hf import TextModel, tiny_hf
from tests.tiny.hf_vision import tiny_hf_vision

pytestmark = pytest.mark.engines
LONG = Capabilities(context_tokens=8192, constrained=True)
MADE = 8


def said_by_the_library(folder: Path, prompt: str, answer: list[int]) -> bool:
    """Whether each token of the answer is the likeliest one, all read in one pass."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = read.encode(prompt, add_special_tokens=False).ids
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
    likeliest: list[int] = logits.argmax(-1).tolist()
    return likeliest == answer


def ask(words: int, number: int = 0) -> ModelRequest:
    text = f"Story {number}." + " word" * words
    return ModelRequest(
        (PromptMessage("user", text),), max_tokens=MADE, first_token_timeout_s=50, gap_timeout_s=50
    )


# Phi-3 looks back 2047 tokens, Phi-3.5 has other factors for prompts over 4096 tokens.
@pytest.mark.parametrize(
    ("name", "words"), [("phi3", 2300), ("phi3.5", 300), ("phi3.5", 4500), ("phimoe", 4500)]
)
async def test_conversations_in_one_pass_say_what_the_library_says(
    name: TextModel, words: int
) -> None:
    requests = [ask(count, number) for number, count in enumerate((words, 2, 400))]
    answers: dict[str, list[int]] = {}
    async with running("transformers", partial(tiny_hf, name), capabilities=LONG) as backend:
        spy_on_tokens(backend, answers)
        await asyncio.gather(*(complete(backend, each) for each in requests))

    assert len(answers) == len(requests)
    for prompt, answer in answers.items():
        assert answer
        assert said_by_the_library(tiny_hf(name), prompt, answer)


def spy_on_tokens(backend: Any, answers: dict[str, list[int]]) -> None:
    """Note the ids behind each answer's text, by its prompt."""
    engine = backend._engine
    start = engine.start

    def noted(job: Any, emit: Any) -> Any:
        generation = start(job, emit)
        ids: list[int] = []
        answers[job.prompt] = ids
        text = generation._text
        feed = text.feed

        def feeding(token: int) -> str:
            ids.append(token)
            said: str = feed(token)
            return said

        text.feed = feeding
        return generation

    engine.start = noted


async def test_a_conversation_that_outgrows_the_short_factors_is_read_anew_and_then_kept() -> None:
    first, second = ask(4000), ask(4300)
    async with running("transformers", partial(tiny_hf, "phi3.5"), capabilities=LONG) as backend:
        _, short = await complete(backend, first)
        _, grown = await complete(backend, second)
        _, again = await complete(backend, second)

    assert short.usage.prompt_tokens < 4096 < grown.usage.prompt_tokens
    assert grown.usage.cached_tokens == 0, "keys of the short factors are of no use to the long"
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def changed(tmp_path: Path, **settings: object) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(tiny_hf("phi3.5"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    return folder


async def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(BackendError) as refused:
        async with running("transformers", lambda: folder, **options):
            pass
    return str(refused.value)


async def test_phi_3_small_is_refused_with_its_replacement(tmp_path: Path) -> None:
    said = await refusal(changed(tmp_path, model_type="phi3small"))

    assert "CUDA" in said
    assert "phi-3.5-mini" in said


async def test_a_folder_without_all_weights_is_refused(tmp_path: Path) -> None:
    said = await refusal(changed(tmp_path, num_hidden_layers=3))

    assert "it has no weights 'model.layers.2." in said


async def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not weights")

    assert "can't load 'changed'" in await refusal(folder)


async def test_an_architecture_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    assert "can't load 'changed'" in await refusal(changed(tmp_path, model_type="vit"))


async def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no readable config.json" in await refusal(tmp_path)


async def test_a_vision_folder_without_its_eyes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "blind"
    shutil.copytree(tiny_hf_vision(), folder)
    shutil.copy(tiny_hf("phi3.5") / "model.safetensors", folder)

    assert "can't load 'blind'" in await refusal(folder, template="phi3_vision")
