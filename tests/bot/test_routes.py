"""From a route's settings to the template its prompts are rendered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.errors import BackendError
from bot.routes import build_chains
from bot.settings import load_settings


async def why_it_cannot_load(folder: Path, route: str) -> str:
    config = folder / "firstline.toml"
    config.write_text(
        f'data_dir = "{folder}"\n[models.routes.near]\n{route}\n[roles]\nplanner = ["near"]\n'
    )
    [route_made] = (await build_chains(load_settings(config, environ={})))["planner"]
    with pytest.raises(BackendError) as caught:
        await route_made.load()
    return str(caught.value)


async def test_an_unknown_template_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    why = await why_it_cannot_load(
        tmp_path, 'backend = "openvino"\nmodel = "phi-4-mini"\ntemplate = "phi5"'
    )

    assert "template 'phi5' is not known" in why
    assert "phi4_multimodal" in why


async def test_a_local_model_without_files_is_named(tmp_path: Path) -> None:
    why = await why_it_cannot_load(tmp_path, 'backend = "openvino"\nmodel = "phi-4-mini"')

    assert "'phi-4-mini' does not exist" in why or "not installed" in why
