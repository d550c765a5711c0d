"""The demonstration model is found without running its package, and checked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.models.embedded import (
    FILE_NAME,
    PACKAGE,
    check_model,
    detect_ollama,
    find_embedded_model,
    load_embedded,
)
from agents.errors import BackendError
from agents.ports import ModelRequest, PromptMessage, complete
from tests.engine import embedded_backend, needs_engine

engine, without_wheels = needs_engine


@engine
@without_wheels
def test_the_model_is_found_and_is_the_known_one_without_importing_its_package() -> None:
    path = find_embedded_model()

    check_model(path)

    assert path.name == FILE_NAME
    assert PACKAGE not in sys.modules


@engine
@without_wheels
def test_the_embedded_model_says_that_it_is_a_demonstration() -> None:
    assert embedded_backend().capabilities.demonstration


@engine
@without_wheels
async def test_a_closed_model_gives_its_memory_back_and_answers_no_more() -> None:
    backend = await load_embedded("second")
    stream = backend.stream(ModelRequest((PromptMessage("user", "Tell a story."),), 1000))
    await anext(stream)

    await backend.aclose()
    await stream.aclose()

    with pytest.raises(BackendError, match="was closed"):
        await complete(backend, ModelRequest((PromptMessage("user", "Hi"),), 4))


async def test_another_file_of_that_name_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    model = tmp_path / FILE_NAME
    model.write_bytes(b"GGUF")

    with pytest.raises(BackendError, match="has 4 bytes instead of 98362432"):
        await load_embedded(path=model)


def test_a_file_of_the_right_size_and_the_wrong_hash_is_refused(tmp_path: Path) -> None:
    model = tmp_path / FILE_NAME
    model.write_bytes(b"GGUF")

    with pytest.raises(BackendError, match=r"its sha256 begins .* reinstall"):
        check_model(model, size_bytes=4, sha256="0" * 64)


def test_importing_the_adapter_imports_no_engine() -> None:
    code = (
        "import sys, adapters.models.embedded, adapters.models.ocr; "
        "sys.exit(bool({'openvino_genai', 'openvino', 'rapidocr', 'numpy'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0  # noqa: S603


async def ollama_with(*names: str, delay_s: float = 0.0) -> TestServer:
    async def tags(_: web.Request) -> web.Response:
        await asyncio.sleep(delay_s)
        return web.json_response({"models": [{"name": name, "size": 1} for name in names]})

    app = web.Application()
    app.router.add_get("/api/tags", tags)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("llama3:8b", "phi3:mini", "phi3.5:latest"), "phi3.5:latest"),
        (("phi3:mini", "library/phi4-mini:3.8b"), "library/phi4-mini:3.8b"),
        (("llama3:8b",), None),
        ((), None),
    ],
)
async def test_the_best_phi_of_a_running_ollama_is_chosen(
    names: tuple[str, ...], chosen: str | None
) -> None:
    async with await ollama_with(*names) as server:
        assert await detect_ollama(str(server.make_url("/"))) == chosen


async def test_a_slow_or_absent_ollama_is_none() -> None:
    async with await ollama_with("phi3.5", delay_s=5.0) as server:
        url = str(server.make_url("/"))
        assert await detect_ollama(url) is None
    assert await detect_ollama(url) is None
