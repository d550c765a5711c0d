"""`firstline models pull` as a person sees it, from a small local hub."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from bot.pulling import pull_model
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
