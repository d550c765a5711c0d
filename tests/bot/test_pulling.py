"""`firstline models pull` as a person sees it, from a small local hub."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from bot.pulling import preferred_backend, pull_model
from tests.adapters.models.test_pull import Hub, serving


async def test_a_pull_shows_every_file_with_its_size_and_hash_and_what_to_do_next(
    tmp_path: Path,
) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=160)
    async with serving(Hub()) as hub:
        code = await pull_model("phi-3.5-mini", tmp_path, base_url=hub.base_url, console=console)

    text = shown.getvalue()
    assert code == 0
    assert "Licence: MIT" in text
    assert "sha256 " in text
    assert "bytes" in text
    assert "firstline run" in text


async def test_a_build_for_another_engine_lies_apart_and_says_how_to_use_it(
    tmp_path: Path,
) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=1000)  # the folder of a test may have a long name
    files = {"Phi-3.5-mini-instruct-Q4_K_M.gguf": b"weights"}
    async with serving(Hub("bartowski/Phi-3.5-mini-instruct-GGUF", files)) as hub:
        await pull_model(
            "Phi-3.5-mini-instruct",
            tmp_path,
            backend="llama_cpp",
            base_url=hub.base_url,
            console=console,
        )

    assert (tmp_path / "llama_cpp" / "phi-3.5-mini" / next(iter(files))).is_file()
    assert 'backend = "llama_cpp", model = "phi-3.5-mini"' in shown.getvalue()


def test_the_engine_of_a_configured_route_is_pulled_for_first() -> None:
    assert preferred_backend("phi-3.5-mini") == "openvino"
    assert preferred_backend("phi-3.5-mini", ["scripted", "llama_cpp"]) == "llama_cpp"
    assert preferred_backend("phi-3.5-mini", ["ollama"]) == "ollama"
    assert preferred_backend("phi-3.5-moe") in ("llama_cpp", "mlx", "transformers")
    assert preferred_backend("unheard-of") == "openvino"
