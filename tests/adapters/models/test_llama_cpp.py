"""llama.cpp in this process: what the contract suite doesn't ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.models import llama_cpp
from adapters.models.embedded import find_embedded_model
from adapters.models.engine import EngineOptions, Job
from adapters.models.llama_cpp_engine import LlamaEngine
from agents.errors import BackendError
from agents.ports import ModelBackend, ModelRequest, PromptMessage, complete
from tests.contracts.engines import CAPABILITIES, running
from tests.tiny.gguf import tiny_gguf

pytestmark = pytest.mark.engines


async def _say(backend: ModelBackend, number: int) -> str:
    asked = (PromptMessage("user", f"Story {number}, please."),)
    return (await complete(backend, ModelRequest(asked, max_tokens=24)))[0]


async def test_conversations_in_one_pass_say_what_each_says_alone() -> None:
    async with running("llama_cpp", partial(tiny_gguf, "phi3")) as backend:
        alone = [await _say(backend, number) for number in range(4)]
        for _ in range(3):
            together = await asyncio.gather(*(_say(backend, number) for number in range(4)))

            assert together == alone


def test_sequences_are_read_in_the_order_that_llama_cpp_joins() -> None:
    """Any other order makes a pass of its own for each, though the words are the same."""
    engine: Any = LlamaEngine(
        tiny_gguf("phi3"), options=EngineOptions(threads=2), context_tokens=512, stops=()
    )
    jobs = [Job(f"Story {number}, please.", 4) for number in range(4)]
    generations = [engine.start(job, lambda text: True) for job in jobs]

    for running_now in (generations, generations[::-1]):
        engine.advance(running_now)
        read = [engine._batch.seq_id[at][0] for at in range(engine._batch.n_tokens)]

        assert read == sorted(read)
        assert set(read) == {0, 1, 2, 3}
    for each in generations:
        each.close()
    engine.close()


def _text(file: Path) -> None:
    file.write_text("no weights")


def _half(file: Path) -> None:
    whole = find_embedded_model().read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def _projector(file: Path) -> None:
    writer = pytest.importorskip("gguf").GGUFWriter(file, "clip")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("make", [_text, _half, _projector])
async def test_a_file_that_is_no_whole_text_model_is_refused_by_name(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "model.gguf")

    with pytest.raises(BackendError, match=r"can't load 'model\.gguf'"):
        await llama_cpp.load("llama", tmp_path, template="phi3", capabilities=CAPABILITIES)


@pytest.mark.parametrize("count", [0, 2])
async def test_a_folder_without_exactly_one_model_asks_for_the_file(
    count: int, tmp_path: Path
) -> None:
    for number in range(count):
        _text(tmp_path / f"{number}.gguf")

    with pytest.raises(BackendError, match=f"holds {count} GGUF files"):
        await llama_cpp.load("llama", tmp_path, template="phi3", capabilities=CAPABILITIES)


@pytest.mark.parametrize(
    ("device", "why"), [("npu", "device 'npu' is not known"), ("cuda", "built without a GPU")]
)
async def test_a_device_that_is_not_there_is_refused_and_not_replaced(
    device: str, why: str
) -> None:
    with pytest.raises(BackendError, match=why):
        await llama_cpp.load(
            "llama",
            tiny_gguf("phi3"),
            template="phi3",
            capabilities=CAPABILITIES,
            options=EngineOptions(device=device),
        )
