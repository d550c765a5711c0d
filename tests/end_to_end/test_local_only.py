"""A conversation that is local only opens no connection to any other host's model."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.chat_process import ask
from tests.listening import listening
from tests.pictures import error_window

SETTINGS = """
[models]
local_only = {local_only}
[models.routes.far]
backend = "openai_api"
base_url = "http://127.0.0.1:{port}/v1"
model = "far"
placement = "cloud"
max_images = 1
[models.routes.near]
backend = "scripted"
[roles]
planner = ["far", "near"]
vision = ["far", "ocr"]
"""


async def test_a_local_only_turn_with_a_picture_opens_no_connection(tmp_path: Path) -> None:
    (tmp_path / "error.png").write_bytes(error_window())
    async with listening() as ear:
        settings = SETTINGS.format(local_only="true", port=ear.port)
        answer = await ask(tmp_path, settings, "What is 17*23?", "--image", "error.png")

    assert "391" in answer.out
    assert ear.connections == 0


async def test_without_the_setting_the_same_routes_are_asked(tmp_path: Path) -> None:
    async with listening() as ear:
        settings = SETTINGS.format(local_only="false", port=ear.port)
        answer = await ask(tmp_path, settings, "What is 17*23?")

    assert "391" in answer.out
    assert ear.connections > 0
